"""Completion scripts for bash, zsh and fish, made from the app: `python -m tools.completions [--check] [FOLDER]`.

The scripts are static: a TAB starts no Python. What a value can be is read off its metavar: words in small letters are
offered as they are ("auto|cpu"), a range is counted out ("1..16"), FILES and NAMES stand for files and known models.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grn_cli.app import LazyGroup, root
from grn_cli.options.fields import choices


@dataclass(frozen=True)
class Value:
    """What can stand in one place: some words, and files or not."""

    words: tuple[str, ...] = ()
    files: bool = False


@dataclass(frozen=True)
class Option:
    """An option of a command; `value` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None


@dataclass(frozen=True)
class Command:
    """A command or a group; a group has `commands`, (name, help) pairs."""

    path: tuple[str, ...]
    options: tuple[Option, ...]
    commands: tuple[tuple[str, str], ...]
    argument: Value


def walk() -> list[Command]:
    """Every command of the app, the root first."""
    return list(_walk(root(), ()))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[Command]:
    options = [_option(param) for param in command.params if param.param_type_name == "option"]
    options.append(Option(("-h", "--help"), "Show this message and exit.", None))
    arguments = [param.metavar for param in command.params if param.param_type_name == "argument"]
    table = command.table if isinstance(command, LazyGroup) else {}
    subcommands = tuple((name, line) for name, (line, _) in table.items())
    yield Command(path, tuple(options), subcommands, parse_metavar(arguments[0]) if arguments else Value())
    for name in table:
        yield from _walk(command.get_command(None, name), (*path, name))


def _option(param: Any) -> Option:
    help_text = " ".join((param.help or "").split())
    names = tuple(sorted([*param.opts, *param.secondary_opts], key=len))
    return Option(names, help_text, None if param.is_flag or param.count else parse_metavar(param.metavar))


def parse_metavar(metavar: str | None) -> Value:
    """What a metavar stands for, as the app's own completion has it."""
    return Value(*choices(metavar))


def bash(commands: list[Command]) -> str:
    """The script for bash."""
    lines = [
        "# Completion of the grn command in bash, made by `python -m tools.completions`. Source it, or put it into",
        "# ~/.local/share/bash-completion/completions/grn",
        "_grn() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" word words="" files=0',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        case "$path $word" in',
        *[
            f'            "{" ".join(("", *command.path))}") path="{" ".join(("", *command.path))}" ;;'
            for command in commands[1:]
        ],
        "        esac",
        "    done",
        '    case "$path $prev" in',
    ]
    for command in commands:
        lines += [
            f"        {_patterns(command, option)}) {_bash_value(option.value)} ;;"
            for option in command.options
            if option.value is not None
        ]
    lines += ['        *) case "$path" in']
    for command in commands:
        options = " ".join(name for option in command.options for name in option.names)
        argument = Value(tuple(name for name, _ in command.commands)) if command.commands else command.argument
        lines.append(
            f'            "{" ".join(("", *command.path)) if command.path else ""}") '
            f'if [[ "$cur" == -* ]]; then words="{options}"; else {_bash_value(argument)}; fi ;;'
        )
    lines += [
        "        esac ;;",
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "    # Without a word that fits, bash goes on to file names where those are wanted.",
        "    if ((files)); then compopt -o default -o bashdefault; else compopt +o default +o bashdefault; fi",
        "}",
        "complete -o default -o bashdefault -F _grn grn",
    ]
    return "\n".join(lines) + "\n"


def _patterns(command: Command, option: Option) -> str:
    return "|".join(f'"{" ".join(("", *command.path, name))}"' for name in option.names)


def _bash_value(value: Value) -> str:
    return f'words="{" ".join(value.words)}"; files={int(value.files)}'


def zsh(commands: list[Command]) -> str:
    """The script for zsh."""
    lines = [
        "#compdef grn",
        "# Completion of the grn command in zsh, made by `python -m tools.completions`. It belongs in $fpath.",
    ]
    for command in commands:
        lines += [f"{_function(command.path)}() {{"]
        specs = [_zsh_option(option) for option in command.options]
        if command.commands:
            lines += [
                "    local context state state_descr line",
                "    typeset -A opt_args",
                "    _arguments -C \\",
                *[f"        {spec} \\" for spec in specs],
                "        '1: :->command' '*:: :->rest'",
                "    case $state in",
                "        command)",
                "            local -a commands=(",
                *[f"                {_quoted(f'{name}:{line}')}" for name, line in command.commands],
                "            )",
                "            _describe command commands ;;",
                '        rest) case "$line[1]" in',
                *[f"            {name}) {_function((*command.path, name))} ;;" for name, _ in command.commands],
                "        esac ;;",
                "    esac",
            ]
        else:
            lines += ["    _arguments -s -S \\", *[f"        {spec} \\" for spec in specs]]
            lines += [f"        {_quoted('*:argument:' + _zsh_value(command.argument))}"]
        lines += ["}"]
    return "\n".join([*lines, '_grn "$@"']) + "\n"


def _function(path: tuple[str, ...]) -> str:
    return "_" + "_".join(("grn", *path))


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = "" if option.value is None else f":value:{_zsh_value(option.value)}"
    if len(option.names) == 1:
        return _quoted(f"{option.names[0]}[{text}]{value}")
    exclusive, alternatives = " ".join(option.names), ",".join(option.names)
    return _quoted(f"({exclusive})") + f"{{{alternatives}}}" + _quoted(f"[{text}]{value}")


def _zsh_value(value: Value) -> str:
    words = " ".join(value.words)
    if value.files and words:
        return f'_alternative "words:word:({words})" "files:file:_files"'
    return "_files" if value.files else f"({words})" if words else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_FISH_HEAD = """\
# Completion of the grn command in fish, made by `python -m tools.completions`. Put it into ~/.config/fish/completions

# Whether the words typed so far begin with the given commands; with -n, whether these are all and another is due.
function __grn_at
    argparse n -- $argv
    set -l words (commandline -opc | string match -v -- '-*')[2..]
    set -q _flag_n; and test (count $words) -ne (count $argv); and return 1
    for i in (seq (count $argv))
        test "$words[$i]" = "$argv[$i]"; or return 1
    end
end

complete -c grn -f
"""


def fish(commands: list[Command]) -> str:
    """The script for fish."""
    lines = [_FISH_HEAD]
    for command in commands:
        path = " ".join(command.path)
        here = _quoted(f"__grn_at -n {path}".strip()) if command.commands else _quoted(f"__grn_at {path}")
        for name, line in command.commands:
            lines.append(f"complete -c grn -n {here} -a {name} -d {_fish_quoted(line)}")
        if not command.commands:
            lines.append(f"complete -c grn -n {here}{_fish_value(command.argument)}")
        for option in command.options:
            names = "".join(f" -l {n[2:]}" if n.startswith("--") else f" -s {n[1:]}" for n in option.names)
            value = "" if option.value is None else " -r" + _fish_value(option.value)
            lines.append(f"complete -c grn -n {here}{names}{value} -d {_fish_quoted(option.help)}")
    return "\n".join(lines) + "\n"


def _fish_value(value: Value) -> str:
    words = f" -a {_quoted(' '.join(value.words))}" if value.words else ""
    return (" -F" if value.files else " -f") + words


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def scripts() -> dict[str, str]:
    """File name -> content of each script."""
    commands = walk()
    return {"grn.bash": bash(commands), "_grn": zsh(commands), "grn.fish": fish(commands)}


def main(arguments: list[str]) -> int:
    """Write the scripts into the folder (default completions/), or with --check say which differ from what would be."""
    places = [argument for argument in arguments if argument != "--check"]
    folder = Path(places[0] if places else "completions")
    stale = 0
    for name, content in scripts().items():
        path = folder / name
        if "--check" not in arguments:
            path.write_text(content, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != content:
            print(f"{path}: differs from the app; run `python -m tools.completions`", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
