"""The options of `grn models`, `grn inspect` and `grn env`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from grn_cli.options.evaluate import EMOJI, SET, Keep
from grn_cli.options.fields import argument, finite, new_file, option
from grn_cli.options.shared import Fetching, Overwriting, Parts, Speaking


class TextAttention(str, Enum):
    """How the text of a text model attends."""

    JOINT = "joint"
    ONE_WAY = "one-way"


@dataclass(frozen=True, kw_only=True)
class List(Speaking):
    """`grn models list`."""

    WORK = "models:list_models"
    MORE = (
        "Each is embedded (comes with the package), on disk, fetched (converted when it is first used), to be "
        "pulled, or not published."
    )
    EXAMPLES = ("grn models list", "grn models list --json")


@dataclass(frozen=True, kw_only=True)
class Show(Speaking):
    """`grn models show`."""

    WORK = "models:show"
    MORE = "Nothing is fetched: a model that is not here is reported with the places searched."
    EXAMPLES = ("grn models show emoji", "grn models show runs/try/final --json")

    name: str = argument("A known name, a model folder, or OWNER/MODEL on the hub.", "NAME")


@dataclass(frozen=True, kw_only=True)
class Pull(Fetching, Speaking):
    """`grn models pull`."""

    WORK = "models:pull"
    MORE = (
        "A generator's tokenizer and text encoder come with it. Prints the folder that it is in; a model that "
        "is here already is left as it is."
    )
    EXAMPLES = ("grn models pull hbq-16", "grn models pull grn-t2i -v")

    names: list[str] = argument("Known names, or OWNER/MODEL.", "NAME")


@dataclass(frozen=True, kw_only=True)
class Convert(Overwriting, Speaking):
    """`grn models convert`."""

    WORK = "convert:convert"
    MORE = (
        "Its kind is told by its keys and shapes; averaged (EMA) weights are preferred where the file has "
        "them. The file is read as data only: one that would run code is refused. Prints the folder."
    )
    EXAMPLES = (
        "grn models convert GRN_ind_B_ep599.pth -o my-grn-b",
        "grn models convert umt5.pth --vocabulary tokenizer.json -o my-umt5",
    )

    file: Path = argument("A checkpoint as the authors publish it (.pth, .ckpt), or a folder of its shards.", "FILE")
    out: Path = option("Model folder to write.", "FOLDER", "--out", "-o", default=..., check=new_file)
    name: str | None = option(
        "The model's name; a known one brings its sampling settings. FOLDER's if not given.", "TEXT"
    )
    like: str | None = option("A known generator whose settings it gets; told by FILE's name if not given.", "NAME")
    text_attention: TextAttention | None = option(
        "Of a text model; told by FILE's name if not given, and asked for where that does not tell."
    )
    channels: int | None = option("Of a generator's codes; tried as published if not given.", "C", min=1)
    rounds: int = option("Quantization rounds.", "1..16", min=1, max=16, default=4)
    context_start: int | None = option("Block from which class tokens join; as published if not given.", "N", min=0)
    vocabulary: Path | None = option(
        "A text encoder's tokenizer.json; looked for beside FILE if not given.", "FILE|FOLDER"
    )


@dataclass(frozen=True, kw_only=True)
class Calibrate(Keep, Parts, Speaking):
    """`grn models calibrate`."""

    WORK = "calibrate:calibrate"
    MORE = (
        "Measures the entropy of the model's prediction over prompts, finds b for the given k, and stores both "
        "in the model's config.json. Of a model that draws pictures where no clip is asked for, pictures are measured."
    )
    EXAMPLES = (
        "grn models calibrate runs/try/final --captions data/emoji/train.tar",
        "grn models calibrate emoji --mean 30 --others 400,800 --plot steps.png --dry-run",
    )

    name: str = argument("A model folder, or a known name.", "MODEL|FOLDER")
    captions: Path = option("Prompts to measure; not used for class models.", SET, default=EMOJI / "train.tar")
    num: int = option("How many prompts.", "N", "--num", "-n", min=2, default=500)
    seed: int = option("Decides everything random.", "N", min=0, default=0)
    k: float = option("Steps for each unit of entropy.", "X", default=600.0, check=finite)
    mean: float = option("Mean number of steps wanted.", "X", default=40.0, check=finite)
    tmin: int | None = option("Fewest steps; the model's own if not given.", "N", min=1)
    tmax: int | None = option("Most steps; the model's own if not given.", "N", min=1)
    others: str | None = option("Show b, steps and their spread for these k too (table 11).", "X,...")
    plot: Path | None = option("Draw the histogram of steps (figure 9; .png, .svg, .pdf).", "FILE", check=new_file)
    force: bool = option("Overwrite a plot that is there.", default=False)
    dry_run: bool = option("Only say what would be stored.", default=False)


@dataclass(frozen=True, kw_only=True)
class Inspect(Speaking):
    """`grn inspect`."""

    WORK = "inspect_file:inspect"
    MORE = (
        "Of codes: tokenizer, size, rounds. Of pictures and clips: size, length, and the prompt and settings "
        "that grn made them with. Of a model: its kind, size and settings."
    )
    EXAMPLES = ("grn inspect cat.png", "grn inspect codes.npz --json", "grn inspect runs/try/final")

    inputs: list[str] = argument(
        "Codes files, pictures, clips, recipes' run folders, model folders or names.", "FILE|NAME"
    )


@dataclass(frozen=True, kw_only=True)
class Env(Speaking):
    """`grn env`."""

    WORK = "env:env"
    MORE = "Versions, devices, folders; nothing of it names you but the paths."
    EXAMPLES = ("grn env", "grn env --json")
