"""Every option of every command changes something: what is written or said, or is refused by name."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.training import changed, recipe_text, tokenizer_recipe

from grn.media import write_image
from grn.training.estimate import Estimate
from tools import completions

# How every command speaks, tested by itself below.
SPEAKING = {"--json", "--quiet", "--verbose", "--help"}
DEVICE = {"--device": "| cuda:99"}
COMPUTING = DEVICE | {"--dtype": "| bfloat16"}

# For each command: what it is called with, and for each option "what else is given | its value".
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "tokenize": (
        "photo.png --tokenizer T",
        {
            "--out": "| x.npz", "--rounds": "| 1", "--tokenizer": "| T2", "--size": "| 32", "--resume": "-o photo.npz |",
            "--fps": "clip.mp4 | 3", "--start": "clip.mp4 | 0.3", "--duration": "clip.mp4 | 0.2",
            "--background": "clear.png | red", "--allow-partial": "cut.mp4 |", "--force": "-o photo.npz |",
            "--offline": "--tokenizer nobody/nothing |", **DEVICE, "--dtype": "clip.mp4 second.png | bfloat16",
            # Of other inputs they are refused by name; what they do is tested by itself.
            "--sizes": "| 16x16", "--frames": "| 5", "--flip": "|", "--text-encoder": "| W", "--tag": "| dog",
            "--most-bad": "| 0.5", "--workers": "| 1",
        },
    ),
    "reconstruct": (
        "photo.npz --tokenizer T",
        {
            "--out": "| x.png", "--rounds": "| 1", "--tokenizer": "| T2", "--reference": "| photo.png",
            "--reference-start": "clip.npz --reference . | 0.2", "--force": "--tokenizer T2 |",
            "--offline": "--tokenizer nobody/nothing |", **COMPUTING,
        },
    ),
    "generate": (
        "cat -m W --steps 2",
        {
            "--out": "| x.png", "--model": "| W2", "--num": "| 2", "--seed": "| 1", "--size": "| 32",
            "--prompts": "| prompts.txt", "--class": "| 1", "--negative-prompt": "--guidance 3 | dog", "--aspect": "| 2:1",
            "--area": "| 0.06M", "--like": "| photo.png", "--grid": "dog |", "--history": "| h.gif",
            "--batch-size": "| 0", "--show": "|", "--resume": "--grid |", "--steps": "| 3",
            "--adaptive": "! --tmin 6 |", "--fixed": "! --adaptive --tmin 6 |", "--tmin": "! --adaptive --tmax 8 | 6",
            "--tmax": "! --adaptive --tmin 6 | 7", "--guidance": "| 3", "--guidance-start": "--guidance 3 | 0.9",
            "--temperature": "| 0.5", "--selection": "| confidence", "--fill": "| mask", "--seconds": "| 1",
            "--image": "| photo.png", "--continue": "| clip.mp4", "--init": "| photo.png", "--strength": "--init photo.png | 0.9",
            "--mask": "--init photo.png | mask.png", "--tokenizer": "| T2", "--tokenizer-device": "| cuda:99",
            "--tokenizer-dtype": "| bfloat16", "--offload": "-v |", "--preset": "| authors",
            "--text-encoder": "| nobody/nothing", "--text-device": "| cpu",
            "--text-dtype": "| bfloat16", "--compile": "-v | off",
            "--force": "-o photo.png |", "--offline": "-m nobody/nothing |", **COMPUTING,
        },
    ),
    "train": (
        "tiny.toml --dry-run",
        {
            "--out": "| elsewhere", "--set": "| run.steps=9", "--resume": "! | photo.png", "--dry-run": "! --stop-after 0 |",
            "--stop-after": "! --set run.steps=3 | 0", "--offline": "! --set run.init=nobody/nothing |", "--compile": "--json | on",
        },
    ),
    "models list": ("", {}),
    "models show": ("W", {}),
    "models pull": ("nobody/nothing", {"--offline": "|"}),
    "inspect": ("photo.png", {}),
    "env": ("", {}),
}  # fmt: skip
SEEN: dict[tuple[str, str], Any] = {}  # outcomes that many options are held against
# Those of these commands are in evaluate/test_fid.py, evaluate/test_clips.py, test_calibrate.py and test_models.py.
ELSEWHERE = {"models convert", "models calibrate"} | {
    f"eval {name}"
    for name in (
        "fid",
        "recon",
        "sweep",
        "geneval",
        "vbench",
        "report",
        "adaptive",
        "motion",
        "stats",
        "video",
        "compare",
    )
}


def pairs() -> Iterator[tuple[str, str]]:
    """Each command with each of its options, by its long name."""
    for command in completions.walk():
        name = " ".join(command.path)
        if name and not command.commands and name not in ELSEWHERE:
            options = [one for option in command.options for one in option.names if one.startswith("--")]
            yield from ((name, option) for option in options if option not in SPEAKING)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, _files: dict[str, bytes]) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for name, data in _files.items():
        (folder / name).write_bytes(data)
    (folder / "cut.mp4").write_bytes(_files["clip.mp4"][:-200])
    (folder / "prompts.txt").write_text("dog\n")
    mask = np.zeros((45, 61, 3), np.uint8)
    mask[:, :30] = 255
    write_image(folder / "mask.png", mask)
    from PIL import Image

    Image.new("RGBA", (32, 32), (0, 0, 255, 40)).save(folder / "clear.png")
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": 2, "run.batch_size": 1})
    (folder / "tiny.toml").write_text(recipe_text(recipe))
    (folder / "pictures").mkdir()
    write_image(folder / "pictures" / "a.png", mask)
    return folder


@pytest.fixture
def outcome(
    grn: Any, material: Path, tmp_path: Path, tokenizer: Path, other_tokenizer: Path, words: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:  # fmt: skip
    """Run a line in a fresh copy of the material; all that can be seen of it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    measured = Estimate(samples=1, step_seconds=1.0, memory=1e9, flop_per_s=1e9, peak_share=0.5)
    monkeypatch.setattr("grn_cli.train.measure", lambda recipe: measured)  # the same every time
    other = tmp_path / "other"
    shutil.copytree(words, other)
    names = {"T": tokenizer, "T2": other_tokenizer, "W": words, "W2": other}

    def run(command: str, line: str) -> tuple[Any, ...]:
        folder = tmp_path / "here"
        shutil.copytree(material, folder)
        monkeypatch.chdir(folder)
        for made in [name for name in ("photo.png", "clip.mp4") if f"{name[:-4]}.npz" in line]:
            grn("tokenize", made, "--tokenizer", tokenizer)
        found = grn(*command.split(), *(names.get(word, word) for word in line.split()))
        files = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".jsonl"
        }
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder)
        return found.code, found.out, found.err, files

    return run


def test_every_pair_has_a_case() -> None:
    assert {*pairs()} == {(command, option) for command, (_, options) in CASES.items() for option in options}


@pytest.mark.parametrize(("command", "option"), sorted(pairs()))
def test_an_option_changes_something(outcome: Any, command: str, option: str) -> None:
    line, options = CASES[command]
    more, _, value = options[option].partition("|")
    if more.startswith("!"):  # not only checked, but done
        line, more = line.replace("--dry-run", "").replace("--steps 2", ""), more[1:]
    base = (command, f"{line} {more}")
    without = SEEN[base] if base in SEEN else SEEN.setdefault(base, outcome(*base))
    assert outcome(command, f"{line} {more} {option} {value}") != without
    assert not any(str(error).startswith("grn: error: unexpected") for error in without[2].splitlines())


@pytest.mark.parametrize("command", CASES)
def test_every_command_speaks_as_it_is_told(outcome: Any, command: str) -> None:
    line, _ = CASES[command]
    plain = outcome(command, line)
    assert outcome(command, f"{line} --json") != plain or plain[0] != 0
    quiet = outcome(command, f"{line} --quiet")
    assert (quiet[0], quiet[1]) == (plain[0], plain[1])
