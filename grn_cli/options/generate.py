"""The options of `grn generate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grn_cli.options.fields import argument, finite, new_file, option, size
from grn_cli.options.sampling import Sampling
from grn_cli.options.shared import Overwriting, Parts, Speaking


@dataclass(frozen=True, kw_only=True)
class More:
    """What is drawn, beyond the first few options."""

    PANEL = "More of what to draw"

    prompts_file: Path | None = option("A file with one prompt a line; '-' is stdin.", "FILE", "--prompts")
    classes: list[str] | None = option(
        "A class, by number or name, of class-to-image models; repeatable.", "N|NAME", "--class", autocompletion=None
    )
    negative_prompt: str = option("What to steer away from.", "TEXT", default="")
    preset: str | None = option(
        "Settings that the model has under this name, as `grn models show` prints them: published video models have authors, "
        "with words behind the prompt and a negative prompt. None if not given.",
        "NAME",
    )
    aspect: str | None = option("Shape of the picture, at --area or the area of the model's own size.", "W:H")
    area: str | None = option("Area of the picture: 0.06M, 0.25M, 0.41M, 0.92M, 1M or 2M pixels.", "AREA")
    like: Path | None = option(
        "Repeat what grn made: the prompt, seed and settings of a picture, contact sheet or clip.", "FILE"
    )
    grid: bool = option("One contact sheet of all pictures instead of a file each.", default=False)
    show: bool = option("Show the results in the terminal, too.", default=False)
    history: Path | None = option(
        "Animate every step: what the network sees, what it predicts, and the tokens: green just filled, grey kept, red "
        "erased, white empty.",
        "FILE",
        check=new_file,
    )
    batch_size: int = option("Pictures at a time.", "N", min=1, default=16)
    resume: bool = option(
        "Skip pictures that are there, whole, and made with the same model and settings.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Of video models."""

    PANEL = "Clips"

    seconds: float | None = option(
        "Length of a clip. Asks for one, as a name in .mp4, .mov, .webm or .gif does; the model's own length if not given.",
        "SECONDS",
        min=0.01,
        check=finite,
    )
    image: Path | None = option("The first frame of a clip.", "FILE")
    continued: Path | None = option("Begin with the last frames of this clip, and go on.", "FILE", "--continue")


@dataclass(frozen=True, kw_only=True)
class FromPicture:
    """Image-to-image and inpainting."""

    PANEL = "From a picture (image-to-image, inpainting)"

    init: Path | None = option("A picture to refine towards the prompt.", "FILE")
    strength: float | None = option(
        "How much of --init to draw anew; 0.6 if not given, with --mask 1.", "0..1", autocompletion=None
    )
    mask: Path | None = option("Redraw --init only in the tokens where this picture is white.", "FILE")


@dataclass(frozen=True, kw_only=True)
class Generate(More, Sampling, Clips, FromPicture, Parts, Overwriting, Speaking):
    """`grn generate`."""

    WORK = "generate.draw:generate"
    MORE = "Prints the path of each file written."
    EXAMPLES = (
        'grn generate "a cat"',
        'grn generate "a cat" "a red apple, noto style" -n 4 --seed 7 --adaptive -o pictures/',
        'grn generate "a dancing cat" --seconds 2 -o cat.mp4',
    )

    prompts: list[str] | None = argument(
        "What to draw, one picture each; '-' reads lines from stdin.", "PROMPT", default=None
    )
    out: str | None = option(
        "Where to write; named by prompt and seed if not given, '-' for stdout.",
        "FILE|FOLDER|-",
        "--out",
        "-o",
        check=new_file,
    )
    model: str | None = option(
        "Model to use; if not given, GRN_MODEL, else the embedded one.",
        "MODEL|FOLDER", "--model", "-m",
    )  # fmt: skip
    num: int = option(
        "Pictures for each prompt, from seeds counting up.", "N", "--num", "-n", min=1, max=1_000_000, default=1
    )
    seed: int = option("First seed.", "N", min=0, default=0)
    size: str | None = option("Size in pixels; the model's own if not given.", "N|WxH", check=size)
