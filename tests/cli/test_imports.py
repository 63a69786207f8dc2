"""What each command may import: help nothing heavy, work only what it uses, none but training a compiler."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Whatever takes a tenth of a second or more, or belongs to one kind of work.
HEAVY = {
    "PIL", "accelerate", "datasets", "efficientnet_lite_pytorch", "ftfy", "grn.data.shards", "grn.evaluation",
    "grn.features", "grn.pipeline", "grn.refine.sampler", "grn.training", "huggingface_hub", "imageio_ffmpeg",
    "matplotlib", "numpy", "pydantic", "rich", "safetensors", "scipy", "sympy", "tokenizers", "torch", "torch._dynamo",
    "torch._inductor", "torchmetrics", "transformers", "wcwidth", "webdataset",
}  # fmt: skip
NETWORK = {"numpy", "pydantic", "safetensors", "torch"}
PICTURES = NETWORK | {"PIL"}
DRAWING = PICTURES | {"grn.pipeline", "grn.refine.sampler"}
MEASURING = DRAWING | {"efficientnet_lite_pytorch", "grn.evaluation", "grn.features"}
RECIPE = """
kind = "tokenizer"
name = "tiny"
[network]
channels = 4
rounds = 2
encoder_width = 4
decoder_width = 4
multipliers = [1]
encoder_blocks = 1
decoder_blocks = 1
halves_time = []
[data]
size = 16
sources = [{path = "photos"}]
[run]
steps = 1
batch_size = 1
[losses]
perceptual = 0.0
gan = 0.0
[rounds]
2 = 1.0
"""
ALLOWED = {
    "--help": set(),
    "--version": set(),
    # Typer itself takes pydantic to read options.
    **{
        f"{command} --help": {"pydantic"}
        for command in ("eval", "tokenize", "generate", "train", "eval fid", "models show")
    },
    "models list": NETWORK | {"huggingface_hub"},
    "models show emoji": NETWORK,
    "tokenize photo.png -o a.npz": PICTURES,
    "reconstruct photo.npz -o a.png": PICTURES,
    "generate cat --steps 1 -o a.png": DRAWING,
    "eval stats photos --resolution 32 -o a.npz": MEASURING,
    # Sharding over devices brings the compiler along.
    "train tiny.toml --out=run": MEASURING
    | {"accelerate", "grn.data.shards", "grn.training", "sympy", "torch._dynamo", "torch._inductor"},
    "inspect photo.npz photo.png": PICTURES | {"huggingface_hub"},
}
# What a command imports stays for those behind it: each row goes from what needs least to what needs most.
ROWS = [[line for line in ALLOWED if ("huggingface_hub" in ALLOWED[line]) == hub] for hub in (False, True)]
SCRIPT = """
import sys
from grn_cli.app import run
for line in sys.argv[1:]:
    code = run(line.split())
    print(">>>", line, ">>>", code, *sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, its codes, a folder of two more, and a recipe."""
    import numpy as np

    from grn.media import open_media, write_image
    from grn.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("place")
    write_image(folder / "photo.png", np.full((32, 32, 3), 90, np.uint8))
    (folder / "photos").mkdir()
    for name in "ab":
        write_image(folder / "photos" / f"{name}.png", np.full((32, 32, 3), ord(name), np.uint8))
    (folder / "tiny.toml").write_text(RECIPE)
    with open_media(folder / "photo.png") as media:
        Tokenizer.from_pretrained("emoji-tokenizer").tokenize(media).save(folder / "photo.npz")
    return folder


@pytest.mark.parametrize("row", ROWS, ids=["plain", "hub"])
def test_a_command_imports_what_it_uses(row: list[str], place: Path) -> None:
    lines = [f"{line} --force" if "-o" in line.split() else line for line in row]
    for line, (code, names) in zip(row, imported(lines, place), strict=True):
        assert code == 0, line
        assert names & HEAVY <= ALLOWED[line], line


def test_what_measures_pictures_is_imported_when_there_are_some(place: Path) -> None:
    """torchmetrics brings seconds of other packages."""
    ((code, names),) = imported(["eval recon --data nothing"], place)
    assert code == 3
    assert names & HEAVY <= MEASURING


def imported(lines: list[str], place: Path) -> list[tuple[int, set[str]]]:
    """Of each command, its exit code, and all modules that are there when it has ended."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, *lines]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    ran = [text.split(" >>> ") for text in done.stderr.split("\n") if text.startswith(">>> ")]
    assert len(ran) == len(lines), done.stderr
    return [(int(code), {*names}) for code, *names in (found.split() for _, found in ran)]
