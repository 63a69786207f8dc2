# Completion of the grn command in bash, made by `python -m grn_cli.completions`. Source it, or put it into
# ~/.local/share/bash-completion/completions/grn
_grn() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" word words="" files=0
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
            " tokenize") path=" tokenize" ;;
            " reconstruct") path=" reconstruct" ;;
            " generate") path=" generate" ;;
            " eval") path=" eval" ;;
            " eval fid") path=" eval fid" ;;
            " eval recon") path=" eval recon" ;;
            " eval neighbours") path=" eval neighbours" ;;
            " eval adaptive") path=" eval adaptive" ;;
            " eval video") path=" eval video" ;;
            " eval stats") path=" eval stats" ;;
            " models") path=" models" ;;
            " models list") path=" models list" ;;
            " models show") path=" models show" ;;
            " models pull") path=" models pull" ;;
        esac
    done
    case "$path $prev" in
        " tokenize -o"|" tokenize --out") words=""; files=1 ;;
        " tokenize --rounds") words="1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"; files=0 ;;
        " tokenize --tokenizer") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " tokenize --size") words=""; files=0 ;;
        " tokenize --fps") words=""; files=0 ;;
        " tokenize --start") words=""; files=0 ;;
        " tokenize --duration") words=""; files=0 ;;
        " tokenize --background") words=""; files=0 ;;
        " tokenize --device") words="auto cpu cuda"; files=0 ;;
        " tokenize --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " reconstruct -o"|" reconstruct --out") words=""; files=1 ;;
        " reconstruct --rounds") words="1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"; files=0 ;;
        " reconstruct --tokenizer") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " reconstruct --reference") words=""; files=1 ;;
        " reconstruct --device") words="auto cpu cuda"; files=0 ;;
        " reconstruct --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " generate -o"|" generate --out") words=""; files=1 ;;
        " generate --prompts") words=""; files=1 ;;
        " generate --class") words=""; files=0 ;;
        " generate -m"|" generate --model") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=0 ;;
        " generate -n"|" generate --num") words=""; files=0 ;;
        " generate --seed") words=""; files=0 ;;
        " generate --size") words=""; files=0 ;;
        " generate --aspect") words=""; files=0 ;;
        " generate --seconds") words=""; files=0 ;;
        " generate --like") words=""; files=1 ;;
        " generate --history") words=""; files=1 ;;
        " generate --batch-size") words=""; files=0 ;;
        " generate --steps") words=""; files=0 ;;
        " generate --tmin") words=""; files=0 ;;
        " generate --tmax") words=""; files=0 ;;
        " generate --guidance") words=""; files=0 ;;
        " generate --guidance-start") words=""; files=0 ;;
        " generate --temperature") words=""; files=0 ;;
        " generate --negative-prompt") words=""; files=0 ;;
        " generate --selection") words="random confidence"; files=0 ;;
        " generate --fill") words="refine mask"; files=0 ;;
        " generate --device") words="auto cpu cuda"; files=0 ;;
        " generate --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval fid --reference") words=""; files=1 ;;
        " eval fid --captions") words=""; files=1 ;;
        " eval fid -n"|" eval fid --num") words=""; files=0 ;;
        " eval fid --seed") words=""; files=0 ;;
        " eval fid -m"|" eval fid --model") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " eval fid --guidance") words=""; files=0 ;;
        " eval fid --temperature") words=""; files=0 ;;
        " eval fid --features") words="offline inception"; files=0 ;;
        " eval fid --inception") words=""; files=1 ;;
        " eval fid --resolution") words=""; files=0 ;;
        " eval fid --batch-size") words=""; files=0 ;;
        " eval fid --device") words="auto cpu cuda"; files=0 ;;
        " eval fid --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval fid --steps") words=""; files=0 ;;
        " eval recon --data") words=""; files=1 ;;
        " eval recon --tokenizer") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " eval recon --rounds") words=""; files=0 ;;
        " eval recon --size") words=""; files=0 ;;
        " eval recon --lpips") words=""; files=1 ;;
        " eval recon --plot") words=""; files=1 ;;
        " eval recon -n"|" eval recon --num") words=""; files=0 ;;
        " eval recon --seed") words=""; files=0 ;;
        " eval recon --features") words="offline inception"; files=0 ;;
        " eval recon --inception") words=""; files=1 ;;
        " eval recon --resolution") words=""; files=0 ;;
        " eval recon --batch-size") words=""; files=0 ;;
        " eval recon --device") words="auto cpu cuda"; files=0 ;;
        " eval recon --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval neighbours --data") words=""; files=1 ;;
        " eval neighbours --among") words=""; files=1 ;;
        " eval neighbours -n"|" eval neighbours --num") words=""; files=0 ;;
        " eval neighbours --seed") words=""; files=0 ;;
        " eval neighbours -m"|" eval neighbours --model") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " eval neighbours --guidance") words=""; files=0 ;;
        " eval neighbours --temperature") words=""; files=0 ;;
        " eval neighbours --features") words="offline inception"; files=0 ;;
        " eval neighbours --inception") words=""; files=1 ;;
        " eval neighbours --resolution") words=""; files=0 ;;
        " eval neighbours --batch-size") words=""; files=0 ;;
        " eval neighbours --device") words="auto cpu cuda"; files=0 ;;
        " eval neighbours --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval neighbours --steps") words=""; files=0 ;;
        " eval adaptive --steps") words=""; files=0 ;;
        " eval adaptive --tmin") words=""; files=0 ;;
        " eval adaptive --tmax") words=""; files=0 ;;
        " eval adaptive --plot") words=""; files=1 ;;
        " eval adaptive --reference") words=""; files=1 ;;
        " eval adaptive --captions") words=""; files=1 ;;
        " eval adaptive -n"|" eval adaptive --num") words=""; files=0 ;;
        " eval adaptive --seed") words=""; files=0 ;;
        " eval adaptive -m"|" eval adaptive --model") words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=1 ;;
        " eval adaptive --guidance") words=""; files=0 ;;
        " eval adaptive --temperature") words=""; files=0 ;;
        " eval adaptive --features") words="offline inception"; files=0 ;;
        " eval adaptive --inception") words=""; files=1 ;;
        " eval adaptive --resolution") words=""; files=0 ;;
        " eval adaptive --batch-size") words=""; files=0 ;;
        " eval adaptive --device") words="auto cpu cuda"; files=0 ;;
        " eval adaptive --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval video --features") words="offline inception"; files=0 ;;
        " eval video --inception") words=""; files=1 ;;
        " eval video --resolution") words=""; files=0 ;;
        " eval video --batch-size") words=""; files=0 ;;
        " eval video --device") words="auto cpu cuda"; files=0 ;;
        " eval video --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " eval stats -o"|" eval stats --out") words=""; files=1 ;;
        " eval stats --size") words=""; files=0 ;;
        " eval stats -n"|" eval stats --num") words=""; files=0 ;;
        " eval stats --seed") words=""; files=0 ;;
        " eval stats --features") words="offline inception"; files=0 ;;
        " eval stats --inception") words=""; files=1 ;;
        " eval stats --resolution") words=""; files=0 ;;
        " eval stats --batch-size") words=""; files=0 ;;
        " eval stats --device") words="auto cpu cuda"; files=0 ;;
        " eval stats --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " models list --device") words="auto cpu cuda"; files=0 ;;
        " models list --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " models show --device") words="auto cpu cuda"; files=0 ;;
        " models show --dtype") words="float32 bfloat16 float16"; files=0 ;;
        " models pull --device") words="auto cpu cuda"; files=0 ;;
        " models pull --dtype") words="float32 bfloat16 float16"; files=0 ;;
        *) case "$path" in
            "") if [[ "$cur" == -* ]]; then words="--version -h --help"; else words="tokenize reconstruct generate train eval models"; files=0; fi ;;
            " tokenize") if [[ "$cur" == -* ]]; then words="-o --out --rounds --tokenizer --size --fps --start --duration --background --allow-partial --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=1; fi ;;
            " reconstruct") if [[ "$cur" == -* ]]; then words="-o --out --rounds --tokenizer --reference --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=1; fi ;;
            " generate") if [[ "$cur" == -* ]]; then words="-o --out --prompts --class -m --model -n --num --seed --size --aspect --seconds --like --grid --history --batch-size --steps --fixed --adaptive --tmin --tmax --guidance --guidance-start --temperature --negative-prompt --selection --fill --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=0; fi ;;
            " eval") if [[ "$cur" == -* ]]; then words="-h --help"; else words="fid recon neighbours adaptive video stats"; files=0; fi ;;
            " eval fid") if [[ "$cur" == -* ]]; then words="--reference --captions -n --num --seed -m --model --guidance --temperature --features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline --steps -h --help"; else words=""; files=0; fi ;;
            " eval recon") if [[ "$cur" == -* ]]; then words="--data --tokenizer --rounds --size --lpips --plot --markdown -n --num --seed --features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=0; fi ;;
            " eval neighbours") if [[ "$cur" == -* ]]; then words="--data --among -n --num --seed -m --model --guidance --temperature --features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline --steps -h --help"; else words=""; files=0; fi ;;
            " eval adaptive") if [[ "$cur" == -* ]]; then words="--steps --tmin --tmax --plot --reference --captions -n --num --seed -m --model --guidance --temperature --features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=0; fi ;;
            " eval video") if [[ "$cur" == -* ]]; then words="--features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=0; fi ;;
            " eval stats") if [[ "$cur" == -* ]]; then words="-o --out --size -n --num --seed --features --inception --resolution --batch-size --device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=1; fi ;;
            " models") if [[ "$cur" == -* ]]; then words="-h --help"; else words="list show pull"; files=0; fi ;;
            " models list") if [[ "$cur" == -* ]]; then words="--device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words=""; files=0; fi ;;
            " models show") if [[ "$cur" == -* ]]; then words="--device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=0; fi ;;
            " models pull") if [[ "$cur" == -* ]]; then words="--device --dtype --json -q --quiet -v --verbose --force --offline -h --help"; else words="emoji emoji-tokenizer emoji-pictures hbq-16 hbq-64 grn-b grn-l grn-h grn-g grn-t2i grn-t2v"; files=0; fi ;;
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    # Without a word that fits, bash goes on to file names where those are wanted.
    if ((files)); then compopt -o default -o bashdefault; else compopt +o default +o bashdefault; fi
}
complete -o default -o bashdefault -F _grn grn
