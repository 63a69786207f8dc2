"""The options of `grn eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grn_cli.options.fields import argument, finite, new_file, option, size
from grn_cli.options.sampling import Drawing, Finer, Ranges, Sampling
from grn_cli.options.shared import Computing, OnDevice, Overwriting, Parts, Speaking

SET = "FOLDER|TAR"
EMOJI = Path("data/emoji")  # where recipes/emoji/prepare.py puts its tars
SHARED = "Several processes (torchrun) share the work, and the same command goes on where it was interrupted."
RANDOM = "Decides everything random."


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """Which network measures, and how."""

    PANEL = "Feature network"

    features: str | None = option(
        "Feature network: inception makes the distance FID as published; offline needs no file; any other name is a vision "
        "model of transformers. If not given, offline; of a published model, Inception if its weights are found.", "offline|inception|MODEL|FOLDER",
        autocompletion=None,
    )  # fmt: skip
    inception: Path | None = option(
        "The Inception weights, as TorchScript or a state dict; looked for in torch's cache if not given. TorchScript is a "
        "program: trust its source.", "FILE",
    )  # fmt: skip
    resolution: int = option(
        "Side to which the offline network resizes; less is faster.", "N", min=32, max=1024, default=224
    )
    batch_size: int = option("Pictures at a time.", "N", min=1, default=32)


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which pictures of a set count."""

    PANEL = "Choice"

    keep: list[str] | None = option(
        "Only samples whose JSON has the fact, with one of these values; repeatable.", "FACT=VALUE,..."
    )


@dataclass(frozen=True, kw_only=True)
class Choice(Keep):
    """How many pictures of a set, and which."""

    PANEL = "Choice"

    num: int | None = option("Use so many of the pictures, drawn by --seed.", "N", "--num", "-n", min=1)
    seed: int = option(RANDOM, "N", min=0, default=0)


@dataclass(frozen=True, kw_only=True)
class Model(Parts):
    """Which generator."""

    PANEL = "Generator"

    model: str | None = option("If not given, GRN_MODEL, else the embedded one.", "MODEL|FOLDER", "--model", "-m")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of long work; several processes (torchrun) share it."""

    PANEL = "Long work"

    out: Path | None = option(
        "Keep the work and report.json here; the same command goes on where it was ended. If not given, it is in the cache "
        "until the work is done.", "FOLDER", "--out", "-o", check=new_file,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Saved(Kept):
    """The pictures, too."""

    PANEL = "Long work"

    save: Path | None = option(
        "Keep every picture here as NUMBER.png, and draw none anew that is there.", "FOLDER", check=new_file
    )


@dataclass(frozen=True, kw_only=True)
class Sets(Keep):
    """What is generated, and the real pictures it is held against."""

    PANEL = "Sets"

    reference: Path = option(
        "Real pictures (also an .npz with arr_0), or their statistics.",
        "FILE.npz|FOLDER|TAR",
        default=EMOJI / "train.tar",
    )
    captions: Path | None = option(
        "What to generate: a captioned set, or a .txt with a prompt a line; the reference's captions if not given.",
        "FILE.txt|FOLDER|TAR",
    )
    negative_prompt: str = option("What to steer away from.", "TEXT", default="")
    num: int = option("Pictures to generate.", "N", "--num", "-n", min=2, default=500)
    seed: int = option(RANDOM, "N", min=0, default=0)


@dataclass(frozen=True, kw_only=True)
class Stats(Choice, Measuring, OnDevice, Overwriting, Speaking):
    """`grn eval stats`."""

    WORK = "evaluate.fid:stats"
    MORE = f"Prints the path of the file written. {SHARED}"
    EXAMPLES = ("grn eval stats photographs/ -o photographs.npz", "grn eval stats data/emoji/train.tar --keep style=3d")

    data: Path = argument("Pictures (also an .npz with arr_0).", "FOLDER|TAR|FILE.npz")
    out: Path | None = option("Where to write; NAME.npz if not given.", "FILE", "--out", "-o", check=new_file)
    model: str | None = option(
        "The generator that the pictures will be compared with, if not given GRN_MODEL, else the embedded one: they are "
        "prepared as `grn eval fid` prepares its reference.", "MODEL|FOLDER", "--model", "-m",
    )  # fmt: skip
    size: int | None = option(
        "Scale the short side to N before the centre is cropped to a square; the side of --model's pictures if not given.",
        "N", min=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recon(Choice, Measuring, Computing, Overwriting, Speaking):
    """`grn eval recon`."""

    WORK = "evaluate.recon:recon"
    MORE = SHARED
    EXAMPLES = (
        "grn eval recon --data photographs/",
        "grn eval recon --data photographs/ --rounds 1,2,4 --size 256 --plot rounds.png",
        "grn eval recon --data clips/ --frames 17 --fps 6",
    )

    data: Path = option(
        "Pictures (also an .npz with arr_0), or clips, to take through the tokenizer.", f"{SET}|FILE.npz", default=...
    )
    tokenizer: str | None = option("The embedded one if not given.", "TOKENIZER|FOLDER")
    rounds: str = option("Numbers of rounds; 'none' is without quantization.", "M,...", default="1,2,4,6,8,none")
    size: int = option("Scale the short side to N and crop the centre.", "N", min=1, default=128)
    frames: int | None = option("Take clips, so many frames of each, and no pictures.", "N", min=2)
    fps: float | None = option("Frames a second to take from clips.", "N", min=0.01)
    lpips: Path | None = option("Measure LPIPS too, with this TorchScript file (a program: trust its source).", "FILE")
    i3d: Path | None = option(
        "Measure rFVD of the clips too, with I3D, this TorchScript file (a program: trust its source).", "FILE"
    )
    plot: Path | None = option("Draw quality against rounds (.png, .svg, .pdf).", "FILE", check=new_file)
    markdown: bool = option("Print the table as Markdown.", default=False)


@dataclass(frozen=True, kw_only=True)
class Fid(Sets, Sampling, Finer, Saved, Model, Measuring, Speaking):
    """`grn eval fid`."""

    WORK = "evaluate.fid:fid"
    MORE = (
        "With Inception's weights it is FID as published, and the Inception score is printed too. Picture i is always drawn from "
        "seed + i: by any number of processes (torchrun), alone or in a batch."
    )
    EXAMPLES = (
        "grn eval fid --model emoji --keep style=3d,flat,noto",
        "grn eval fid --model grn-b --reference imagenet.npz --num 50000 --inception weights.pt",
        "torchrun --nproc-per-node 8 -m grn_cli eval fid --model grn-b --reference imagenet.npz --num 50000 -o runs/fid",
    )

    metrics: str | None = option(
        "What to measure: fid, isc (Inception score), kid (kernel distance), prc (precision and recall); by default fid, and "
        "isc with Inception.", "NAME,...",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sweep(Sets, Ranges, Saved, Model, Measuring, Overwriting, Speaking):
    """`grn eval sweep`."""

    WORK = "evaluate.sweep:sweep"
    MORE = (
        "Every combination is measured on the same prompts and seeds. With values of k, b, tmin or tmax, sampling is "
        "complexity-aware."
    )
    EXAMPLES = (
        "grn eval sweep --model emoji --guidance 1.5:3:0.25 --temperature 0.8,1,1.2 -n 200 --plot curves.png",
        "grn eval sweep --model emoji --guidance 1:5:0.5 --guidance-start 0:0.5:0.1 --random 12 -o runs/sweep",
    )

    random: int | None = option("Try only so many of the combinations, drawn by --seed.", "N", min=1)
    repeats: int = option("Measure each so many times, on other prompts and seeds.", "N", min=1, default=1)
    plot: Path | None = option(
        "Draw the distance against each setting, at the best of the others.", "FILE", check=new_file
    )
    markdown: bool = option("Print the table as Markdown.", default=False)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Sets, Drawing, Finer, Kept, Model, Measuring, Overwriting, Speaking):
    """`grn eval adaptive`."""

    WORK = "evaluate.adaptive:adaptive"
    MORE = ""
    EXAMPLES = ("grn eval adaptive --model emoji --keep style=3d,flat,noto --num 200 --plot steps.png",)

    steps: int = option("Steps of the fixed schedule.", "N", min=1, default=50)
    tmin: int = option("Fewest steps of the complexity-aware schedule.", "N", min=1, default=10)
    tmax: int = option("Most steps of the complexity-aware schedule.", "N", min=1, default=50)
    plot: Path | None = option("Draw the histogram of steps (.png, .svg, .pdf).", "FILE", check=new_file)


@dataclass(frozen=True, kw_only=True)
class Motion(Keep, Sampling, Finer, Model, Speaking):
    """`grn eval motion`."""

    WORK = "evaluate.clips:motion"
    MORE = (
        "A pixel moves where one of its colours changes by 8 levels of 255 or more from one frame to the next. Flicker is the share of the "
        "pixels that move among those that never do in the data's clip of the same caption."
    )
    EXAMPLES = ("grn eval motion --num 32",)

    data: Path = option("Captioned clips, whose captions are generated.", SET, default=EMOJI / "video-train.tar")
    num: int = option("Clips to generate.", "N", "--num", "-n", min=1, default=50)
    seed: int = option(RANDOM, "N", min=0, default=0)
    batch_size: int = option("Clips at a time.", "N", min=1, default=8)


@dataclass(frozen=True, kw_only=True)
class Video(Measuring, OnDevice, Speaking):
    """`grn eval video`."""

    WORK = "evaluate.clips:video"
    MORE = (
        "With --i3d it is FVD. Without, it is a distance of pairs of frames under an image network, which is not the FVD of the "
        f"literature. {SHARED}"
    )
    EXAMPLES = (
        "grn eval video real-clips/ generated-clips/",
        "grn eval video real/ generated/ --i3d i3d_torchscript.pt --frames 16 --fps 8",
    )

    reference: Path = argument("Clip, or folder of clips.", "FILE|FOLDER")
    clips: Path = argument("Clip, or folder of clips, to compare with it.", "FILE|FOLDER")
    fps: float | None = option("Frames a second to bring all clips to; needed where their rates differ.", "N", min=0.01)
    i3d: Path | None = option("Measure FVD with I3D, this TorchScript file (a program: trust its source).", "FILE")
    frames: int = option("With --i3d: frames of a clip; longer videos are several.", "N", min=9, default=16)
    stride: int = option("Take every N-th frame.", "N", min=1, default=1)


@dataclass(frozen=True, kw_only=True)
class Compare(Overwriting, Speaking):
    """`grn eval compare`."""

    WORK = "evaluate.results:compare_results"
    MORE = "The ratio is that of the last to the first."
    EXAMPLES = (
        "grn eval compare a.json b.json --plot ratios.png",
        "grn eval fid --model emoji --json > a.json  # what it reads",
    )

    results: list[Path] = argument("What commands of `grn eval` printed with --json.", "FILE")
    plot: Path | None = option(
        "Draw the figures that differ, as ratios to the first result's (.png, .svg, .pdf).", "FILE", check=new_file
    )
    markdown: bool = option("Print the table as Markdown.", default=False)


@dataclass(frozen=True, kw_only=True)
class Report(Overwriting, Speaking):
    """`grn eval report`."""

    WORK = "evaluate.results:report"
    MORE = "The page holds everything that it shows; nothing is loaded from elsewhere. Prints its path."
    EXAMPLES = ("grn eval report runs/sweep", "grn eval report runs/try -o try.html", "grn eval report a.json")

    run: Path = argument(
        "A folder that `grn eval ... -o` or `grn train` wrote, or a result's JSON file.", "FOLDER|FILE"
    )
    out: Path | None = option(
        "Where to write; report.html in the folder if not given.", "FILE", "--out", "-o", check=new_file
    )


@dataclass(frozen=True, kw_only=True)
class Suite(Sampling, Finer, Model):
    """What both suites of prompts have."""

    PANEL = "Options"

    out: Path = option(
        "The folder that the suite is to measure; what is there, whole and made so, is kept.",
        "FOLDER",
        "--out",
        "-o",
        default=...,
        check=new_file,
    )
    seed: int = option("Seed of the first; each next one has the next seed.", "N", min=0, default=0)
    size: str | None = option("Size in pixels; the model's own if not given.", "N|WxH", check=size)
    rewritten: Path | None = option(
        "Wordings to draw by: lines PROMPT TAB WORDING, or a JSON object. Files are named by the suite's own prompts.",
        "FILE",
    )
    negative_prompt: str = option("What to steer away from.", "TEXT", default="")
    batch_size: int = option("How many at a time.", "N", min=1, default=16)


@dataclass(frozen=True, kw_only=True)
class GenEval(Suite, Speaking):
    """`grn eval geneval`."""

    WORK = "evaluate.suites:geneval"
    MORE = (
        "Draws NUMBER/samples/NUMBER.png beside NUMBER/metadata.jsonl, as evaluation/evaluate_images.py of GenEval reads them. "
        "Several processes (torchrun) share the work."
    )
    EXAMPLES = (
        "grn eval geneval evaluation_metadata.jsonl --model grn-t2i -o geneval/",
        "grn eval geneval evaluation_metadata.jsonl --model grn-t2i -o geneval/ --results results.jsonl",
    )

    prompts: Path = argument("GenEval's evaluation_metadata.jsonl.", "FILE")
    num: int = option("Pictures of each prompt.", "N", "--num", "-n", min=1, default=4)
    results: Path | None = option("What the suite found, results.jsonl: show its scores, too.", "FILE")


@dataclass(frozen=True, kw_only=True)
class VBench(Suite, Speaking):
    """`grn eval vbench`."""

    WORK = "evaluate.suites:vbench"
    MORE = (
        "Draws PROMPT-INDEX.mp4, as VBench's evaluate.py reads them, 25 of each prompt for temporal flickering. Several "
        "processes (torchrun) share the work."
    )
    EXAMPLES = (
        "grn eval vbench VBench_full_info.json --model grn-t2v -o videos/",
        "grn eval vbench VBench_full_info.json --model grn-t2v -o videos/ --rewritten longer.tsv --dimension scene",
        "grn eval vbench VBench_full_info.json --model grn-t2v -o videos/ --results a_eval_results.json",
    )

    prompts: Path = argument("VBench_full_info.json, or a text file with a prompt a line.", "FILE")
    num: int = option("Clips of each prompt.", "N", "--num", "-n", min=1, default=5)
    dimension: list[str] | None = option("Only prompts of this dimension; repeatable.", "NAME", autocompletion=None)
    seconds: float | None = option("Length of a clip; the model's own if not given.", "SECONDS", min=0.01, check=finite)
    results: list[Path] | None = option(
        "What the suite found, *_eval_results.json: show its scores; repeatable.", "FILE"
    )
