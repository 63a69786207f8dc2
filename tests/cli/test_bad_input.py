"""Bad input of every kind -> one clear line on stderr, the exit code of its kind, and nothing left behind."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.training import recipe_text, tokenizer_recipe
from safetensors.torch import load_file, save_file


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(100)))


def _damaged(source: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    shutil.copytree(source, folder)
    (folder / name).write_bytes(change((folder / name).read_bytes()))


def _config(change: dict[str, Any]) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **change}).encode()


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, words: Path, _files: dict[str, bytes]) -> Path:
    """A folder of bad files and a few good ones; photo.npz and words/ are made with tiny models."""
    import torch

    from grn.files import sha256
    from grn.media import open_media
    from grn.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("bad")
    for name, data in _files.items():
        (folder / name).write_bytes(data)
    photo, clip = _files["photo.png"], _files["clip.mp4"]
    with open_media(folder / "photo.png") as media:
        Tokenizer.from_pretrained(tokenizer).tokenize(media).save(folder / "photo.npz")
    codes = (folder / "photo.npz").read_bytes()
    recipe = recipe_text(tokenizer_recipe("pictures"))
    files: dict[str, bytes] = {
        "cut.png": photo[: len(photo) // 2],
        "signature.png": photo[:8],
        "huge.png": _huge_png(),
        "program.png": b"\x7fELF" + bytes(200),
        "text.mp4": b"hello\n",
        "empty.mp4": b"",
        "cut.mp4": clip[: len(clip) // 2],
        "list.mp4": b"ffconcat version 1.0\nfile 'clip.mp4'\n",
        "half.npz": codes[: len(codes) // 2],
        "empty.npz": b"",
        "text.npz": b"hello\n",
        "altered.npz": codes.replace(b'"rounds"', b'"sdnuor"'),
        "longer.npz": codes + b"more",
        "cat.txt": b"cat\n",
        "empty.txt": b"",
        "blank.txt": b"\n \n",
        "latin.txt": "caf\u00e9\n".encode("latin-1"),
        "good.toml": recipe.encode(),
        "misspelt.toml": recipe.replace("batch_size", "batchsize").encode(),
        "section.toml": recipe.replace("[run]", "[runs]").encode(),
        "value.toml": recipe.replace("\nsteps = 6", '\nsteps = "many"').encode(),
        "cut.toml": recipe[:40].encode(),
        "binary.toml": photo,
        "empty.toml": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for name in ("bare", "pictures"):
        (folder / name).mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    _damaged(words, folder / "cut-weights", "model.safetensors", lambda data: data[: len(data) // 2])
    _damaged(words, folder / "flipped", "model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    _damaged(words, folder / "no-json", "config.json", lambda data: data[:-20])
    _damaged(words, folder / "newer", "config.json", _config({"format_version": 9}))
    _damaged(words, folder / "sampling", "config.json", _config({"sampling": {"guidence": 2.0}}))
    _damaged(words, folder / "no-words", "text_encoder/vocab.txt", lambda data: data[data.index(b"\n") + 1 :])
    network = json.loads((words / "config.json").read_text())["network"]
    _damaged(words, folder / "key", "config.json", _config({"network": {**network, "dept": 3}}))
    _damaged(words, folder / "wider", "config.json", _config({"network": {**network, "width": 64}}))
    shutil.copytree(words, folder / "nan")
    state = load_file(words / "model.safetensors")
    state["head.weight"] = torch.full_like(state["head.weight"], float("nan"))
    save_file(state, folder / "nan" / "model.safetensors")
    sealed = {"weights_sha256": sha256(folder / "nan" / "model.safetensors")}
    config = folder / "nan" / "config.json"
    config.write_bytes(_config(sealed)(config.read_bytes()))
    return folder


# Arguments ("@t": the tiny tokenizer, "@w": the tiny text model, "LONG": a name of 300 bytes, "NOTHING": an empty one),
# exit code, what the line begins with.
TABLE = [
    # Media
    ("tokenize none.png @t", 3, "none.png: no such file"),
    ("tokenize text.png @t", 3, "text.png: holds text"),
    ("tokenize empty.png @t", 3, "empty.png: is empty"),
    ("tokenize cut.png @t", 3, "cut.png: "),
    ("tokenize signature.png @t", 3, "signature.png: "),
    ("tokenize huge.png @t", 3, "huge.png: "),
    ("tokenize program.png @t", 3, "program.png: "),
    ("tokenize loop.png @t", 3, "loop.png: "),
    ("tokenize bare @t", 3, "bare: no file in this folder"),
    ("tokenize text.mp4 @t", 3, "text.mp4: "),
    ("tokenize empty.mp4 @t", 3, "empty.mp4: is empty"),
    ("tokenize cut.mp4 @t", 3, "cut.mp4: "),
    ("tokenize list.mp4 @t", 3, "list.mp4: "),
    ("tokenize photo.npz @t", 3, "photo.npz: "),
    # Codes
    ("reconstruct none.npz @t", 4, "none.npz: no such file"),
    ("reconstruct half.npz @t", 4, "half.npz: is cut short"),
    ("reconstruct empty.npz @t", 4, "empty.npz: is empty"),
    ("reconstruct text.npz @t", 4, "text.npz: is empty or not a codes file"),
    ("reconstruct altered.npz @t", 4, "altered.npz: "),
    ("reconstruct longer.npz @t", 4, "longer.npz: "),
    ("reconstruct - @t", 4, "-: is empty or not a codes file"),
    ("reconstruct photo.png @t", 4, "photo.png: is not a codes file"),
    ("reconstruct photo.npz", 4, "photo.npz: made with a tokenizer called 'tiny'"),
    ("reconstruct photo.npz @t --rounds 9", 2, "--rounds 9: photo.npz holds 4 rounds"),
    ("reconstruct photo.npz @t --reference text.png -o x.png", 3, "text.png: holds text"),
    # Models
    ("tokenize photo.png --tokenizer emoji-tokenzier", 4, "emoji-tokenzier: no model of that name"),
    ("tokenize photo.png --tokenizer bare", 4, "bare: the folder holds no config.json"),
    ("generate cat -m emojy", 4, "emojy: no model of that name (looked among"),
    ("generate cat -m bare", 4, "bare: the folder holds no config.json"),
    ("generate cat -m photo.png", 4, "photo.png: is a file; give a model folder"),
    ("generate cat -m nobody/nothing --offline", 4, "nobody/nothing: weights are not here"),
    ("generate cat -m @t", 4, "TOKENIZER: is a tokenizer; name a generator"),
    ("generate cat -m cut-weights", 4, "cut-weights/model.safetensors: damaged or of another model"),
    ("generate cat -m flipped", 4, "flipped/model.safetensors: damaged or of another model"),
    ("generate cat -m nan", 4, "nan/model.safetensors: "),
    ("generate cat -m no-json", 4, "no-json/config.json: not a JSON document"),
    ("generate cat -m newer", 4, "newer/config.json: written in format version 9"),
    ("generate cat -m key", 4, "key/config.json: unknown key 'network.dept'; did you mean 'network.depth'?"),
    ("generate cat -m wider", 4, "wider/model.safetensors: "),
    (
        "generate cat -m sampling",
        4,
        "sampling/config.json: unknown key 'sampling.guidence'; did you mean 'sampling.guidance'?",
    ),
    ("generate cat -m no-words", 4, "no-words/text_encoder: word vectors do not match their config"),
    ("models show emojy", 4, "emojy: no model of that name"),
    # Prompts
    ("generate ??? @w", 3, "prompt '???': holds no word that this model can read"),
    ("generate cat --negative-prompt ??? @w", 3, "prompt '???': holds no word that this model can read"),
    ("generate --prompts none.txt @w", 3, "none.txt: no such file or directory; check the path"),
    ("generate --prompts bare @w", 3, "bare: is a directory; check the path"),
    ("generate --prompts empty.txt @w", 3, "empty.txt: holds no prompt; give one a line"),
    ("generate --prompts blank.txt @w", 3, "blank.txt: holds no prompt; give one a line"),
    ("generate --prompts latin.txt @w", 3, "latin.txt: is not text in UTF-8"),
    ("generate --prompts photo.png @w", 3, "photo.png: is not text in UTF-8"),
    ("generate --prompts - @w", 3, "-: holds no prompt; give one a line"),
    ("generate @w", 2, "nothing to draw; give a prompt, --prompts FILE or --class N"),
    (
        "generate --class 1 @w",
        2,
        "1: tiny-words draws from words, not from class numbers; give a prompt, and no --class",
    ),
    ("generate --like none.png", 3, "none.png: no such file"),
    ("generate --like text.png", 3, "text.png: "),
    ("generate --like photo.png", 3, "photo.png: does not say how it was made"),
    # Options
    ("tokenize photo.png @t --rounds 0", 2, "invalid value for '--rounds': 0 is out of range (expected 1 to 16)"),
    ("tokenize photo.png @t --size 0", 2, "invalid value for '--size': '0' is no size"),
    ("tokenize photo.png @t --device cuda:99", 5, "--device cuda:99: no such device"),
    ("generate cat @w --tmin 60 --tmax 50", 2, "tmin 60 is above tmax 50"),
    ("generate cat @w --adaptive --tmin 60 --tmax 50", 2, "tmin 60 is above tmax 50"),
    ("generate cat @w --adaptive --tmin 60", 2, "tmin 60 is above tmax 50"),
    ("generate cat @w --adaptive --tmin 3", 2, "tmin 3 must be above the warm-up of 5 steps"),
    ("generate cat @w --tmin 10", 2, "--tmin and --tmax: bound the steps of --adaptive; give that too"),
    ("generate cat @w --fixed --tmax 10", 2, "--tmin and --tmax: bound the steps of --adaptive; give that too"),
    ("generate cat @w --steps 9 --tmin 9", 2, "--tmin and --tmax: bound the steps of --adaptive; give that too"),
    ("generate cat @w --steps 9 --adaptive", 2, "--steps and --adaptive: both choose the number of steps"),
    ("generate cat @w --steps 0", 2, "invalid value for '--steps'"),
    ("generate cat @w --steps 100001", 2, "steps: "),
    ("generate cat @w -n 0", 2, "invalid value for '--num'"),
    ("generate cat @w --seed -1", 2, "invalid value for '--seed'"),
    ("generate cat @w --temperature 0", 2, "temperature: "),
    ("generate cat @w --temperature nan", 2, "temperature: "),
    ("generate cat @w --guidance inf", 2, "guidance: "),
    ("generate cat @w --guidance-start 2", 2, "guidance_start: "),
    ("generate cat @w --guidance 1 --negative-prompt dog", 2, "negative prompt: has no effect here"),
    ("generate cat @w --selection best", 2, "selection: "),
    ("generate cat @w --fill zeros", 2, "fill: "),
    ("generate cat @w --size 40", 2, "size 40x40: tiny-words draws in steps of 16 pixels; use multiples of 16"),
    ("generate cat @w --size 4x", 2, "invalid value for '--size': '4x' is no size"),
    ("generate cat @w --aspect wide", 2, "--aspect wide: expected WIDTH:HEIGHT, such as 16:9"),
    ("generate cat @w --aspect 0:3", 2, "--aspect 0:3: expected WIDTH:HEIGHT"),
    ("generate cat @w --aspect 1:2 --size 32", 2, "--size and --aspect: both say the shape"),
    ("generate cat @w --seconds 2", 2, "--seconds: "),
    (
        "generate cat @w --seconds inf",
        2,
        "invalid value for '--seconds': inf is out of range (expected a finite number)",
    ),
    ("generate cat @w --dtype float64", 2, "invalid value for '--dtype': 'float64' is not one of"),
    ("generate --class cat @w", 2, "--class cat: tiny-words draws from words, not from classes; give a prompt"),
    ("generate cat dog @w --history h.gif", 2, "--history: follows one picture"),
    ("generate cat @w --history h.png", 2, "--history h.png: is no animation; use one of "),
    ("generate cat @w --device cuda:99", 5, "--device cuda:99: no such device"),
    # Outputs
    ("tokenize photo.png @t -o none/x.npz", 5, "none/x.npz: its folder does not exist; create none first"),
    ("tokenize photo.png @t -o text.png/x.npz", 5, "text.png/x.npz: cannot be written (Not a directory)"),
    ("generate cat @w -o none/x.png", 5, "none/x.png: its folder does not exist; create none first"),
    ("generate cat @w -o text.png/x.png", 5, "text.png/x.png: cannot be written (Not a directory)"),
    ("generate cat @w -o photo.png", 2, "photo.png: exists already; choose another name, or --force"),
    ("generate cat @w -o loop.png", 2, "loop.png: exists already; choose another name, or --force"),
    ("generate cat @w -o x.docx", 2, "x.docx: cannot write images as '.docx'; use one of "),
    ("generate cat @w -o x", 2, "x: cannot write images as ''; use one of "),
    ("generate cat @w -o /dev/full", 2, "/dev/full: exists already"),
    ("generate cat dog @w -o photo.png", 2, "photo.png: is a file and there are many results; name a folder"),
    ("generate cat dog @w -o -", 2, "-o -: standard output takes the result of one input only; name a folder"),
    ("generate cat @w --history none/h.gif -o -", 5, "none/h.gif: its folder does not exist; create none first"),
    ("generate cat @w -o LONG.png", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("generate cat @w -o new/LONG/", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("generate cat @w --history LONG.gif", 2, "invalid value for '--history': aaaaa"),
    ("tokenize photo.png @t -o LONG.npz", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("reconstruct photo.npz @t -o LONG/x.png", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("train good.toml -o LONG", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("eval stats pictures -o LONG.npz", 2, "invalid value for '--out' / '-o': aaaaa"),
    ("generate cat @w -o /dev/full --force", 2, "/dev/full: is not a regular file"),
    ("generate cat @w -o photo.png/", 2, "photo.png: is a file and the name ends in '/'; leave that out"),
    ("generate cat @w -o NOTHING", 2, "-o '': is no name"),
    ("generate cat @w --history x.gif -o x.gif", 2, "--history x.gif: is where the result goes"),
    ("generate cat @w --history none/h.gif", 5, "none/h.gif: its folder does not exist; create none first"),
    ("tokenize photo.png @t -o x.png", 2, "-o x.png: is the name of a picture or clip, and codes are written"),
    ("tokenize photo.png @t -o photo.png --force", 2, "-o photo.png: is the name of a picture or clip"),
    ("tokenize NOTHING @t", 3, "'': is no name; give the name of a file or folder"),
    # Names that no file can have
    ("tokenize LONG.png @t", 3, "LONG.png: cannot be opened (File name too long)"),
    ("reconstruct LONG.npz @t", 4, "LONG.npz: cannot be read (File name too long)"),
    ("reconstruct photo.npz @t --reference LONG.png -o x.png", 3, "LONG.png: cannot be opened (File name too long)"),
    ("generate cat @w --init LONG.png", 3, "LONG.png: file name too long; check the path"),
    ("generate --prompts LONG @w", 3, "LONG: file name too long; check the path"),
    ("inspect LONG.png", 3, "LONG.png: no such file"),
    ("train LONG.toml", 4, "LONG.toml: not a readable TOML recipe"),
    ("eval stats LONG -o x.npz", 3, "LONG: no such folder or tar"),
    # Recipes
    ("train none.toml", 4, "none.toml: no such recipe; see the recipes folder for examples"),
    ("train bare", 4, "bare: not a readable TOML recipe"),
    (
        "train misspelt.toml",
        4,
        "misspelt.toml: unknown key 'run.batchsize'; did you mean 'run.batch_size'? (and 1 more)",
    ),
    ("train section.toml", 4, "section.toml: unknown key 'runs'; did you mean 'run'?"),
    ("train value.toml", 4, "value.toml: run.steps: "),
    ("train cut.toml", 4, "cut.toml: "),
    ("train binary.toml", 4, "binary.toml: not a readable TOML recipe"),
    ("train empty.toml", 4, "empty.toml: "),
    ("train good.toml --set run.stepz=3", 4, "good.toml: unknown key 'run.stepz'; did you mean 'run.steps'?"),
    ("train good.toml --resume none", 2, "--resume none: no checkpoint there"),
    ("train good.toml --resume bare", 2, "--resume bare: no checkpoint there"),
    ("train good.toml --stop-after -1", 2, "invalid value for '--stop-after'"),
]


@pytest.mark.parametrize(("line", "code", "err"), TABLE, ids=[row[0] for row in TABLE])
def test_bad_input(
    grn: Any,
    material: Path,
    tokenizer: Path,
    words: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    code: int,
    err: str,
) -> None:
    monkeypatch.chdir(material)
    arguments: list[object] = []
    for word in line.replace("LONG", "a" * 300).split():
        if word in ("@t", "@w") and arguments[-1] != "-m":
            arguments.append({"@t": "--tokenizer", "@w": "-m"}[word])
        arguments.append({"@t": tokenizer, "@w": words, "NOTHING": ""}.get(word, word))
    before = _content(material)
    outcome = grn(*arguments)
    assert outcome.err.startswith(f"grn: error: {err.replace('TOKENIZER', str(tokenizer)).replace('LONG', 'a' * 300)}")
    assert outcome.code == code
    assert outcome.err.count("\n") == 1
    assert outcome.err[:-1].isprintable()
    assert outcome.out == b"" or "-o -" in line
    for word in ("Traceback", "unexpected", "object at 0x", "pydantic"):
        assert word not in outcome.err
    assert _content(material) == before


def _content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


CONTROLS = [
    "tokenize photo.png clip.mp4 @t",
    "reconstruct photo.npz @t",
    "generate cat @w --steps 1",
    "generate --prompts cat.txt @w --steps 1",
    "generate cat @w --adaptive --tmin 6 --tmax 7",
    "models show emoji-tokenizer",
    "train good.toml --dry-run",
]


@pytest.mark.parametrize("line", CONTROLS)
def test_good_input(
    grn: Any, material: Path, tokenizer: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The same commands and files, without what is wrong above."""
    for name in ("photo.png", "clip.mp4", "photo.npz", "cat.txt", "good.toml"):
        (tmp_path / name).write_bytes((material / name).read_bytes())
    (tmp_path / "pictures").mkdir()  # what the recipe trains on
    (tmp_path / "pictures" / "photo.png").write_bytes((material / "photo.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    line = line.replace("@t", f"--tokenizer {tokenizer}").replace("@w", f"-m {words}")
    outcome = grn(*line.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out


def test_bad_items_of_many_are_listed_and_the_rest_done(
    grn: Any, material: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(material)
    names = ["photo.png", "text.png", "empty.png", "none.png", "second.png", "huge.png"]
    outcome = grn("tokenize", *names, "--tokenizer", tokenizer, "-o", tmp_path / "out")
    assert outcome.code == 3
    assert [line.split()[2] for line in outcome.err.splitlines()] == [
        "text.png:", "empty.png:", "none.png:", "huge.png:",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo.npz", "second.npz"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(grn: Any, here: Path) -> None:
    os.mkfifo(here / "pipe")
    outcome = grn("inspect", "pipe")
    assert outcome.code == 3
    assert "pipe: is a pipe or a device" in outcome.err
