"""The models that are known by name.

Importing this is cheap and reads nothing; the sizes of the networks are in `grn.networks.presets`.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

DEFAULT_MODEL = "emoji"
DEFAULT_TOKENIZER = "emoji-tokenizer"
PUBLISHED_REPO = "bytedance-research/GRN"
_UNSTATED = "see the authors' repository"

# How the authors sample their models; what is not said here is SamplerConfig's own.
_CLASSES = {"guidance": 2.35, "guidance_start": 0.44, "temperature": 1.31}
_CLASSES_B = {
    # Their k * H + b counts the steps after the warm-up of 5, ours all of them.
    **_CLASSES, "k": 700.0, "b": -615.0, "tmin": 20, "cooling": 1 / 40, "cooling_from": 35,
}  # fmt: skip
_TEXT = {"curve": "cosine", "curve_factor": 0.95, "ratio_shown": "kept", "ratio_of": "drawn"}
_FIRST_TEXT = MappingProxyType({"curve_factor": 0.999})  # of the first text models
_IMAGES = {**_TEXT, "guidance": 3.0, "temperature": 1.1}
_CLIPS = {**_TEXT, "guidance": 4.0, "temperature": 1.0}

# What the authors' scripts for clips add: their suffixes and their scale, and a negative prompt of the same faults in our words.
_SCRIPTS = {
    "authors": {
        "suffix": ". The quality is very high!",
        "image_suffix": " high aesthetic and high quality video.",
        "negative_prompt": (
            "poor quality, low resolution, out of focus, noise, flicker, visible compression, too bright, too dark, "
            "garish colours, cartoon, painted, computer graphics, plastic skin, misshapen body, wrong anatomy, too many "
            "or too few fingers, frozen picture, no movement, jerky movement, movement backwards, subtitles, watermark, "
            "logo, crowded background, careless composition"
        ),
        "guidance": 3.0,
    }
}


@dataclass(frozen=True)
class Published:
    """One of the authors' files.

    text_attention: of a text model; nothing in the file tells. tagged: whether its prompts were trained with a tag
    before them. sampling: fields of SamplerConfig that differ from those of the name it is listed under.
    """

    file: str
    text_attention: Literal["joint", "one-way"] | None = None
    tagged: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)


def _joint(file: str) -> Published:
    return Published(file, "joint", tagged=True)


def _first(file: str) -> Published:
    return Published(file, "one-way", sampling=_FIRST_TEXT)


@dataclass(frozen=True)
class Entry:
    """What is known of a name before anything is read.

    kind: "tokenizer", "class-to-image", "text-to-visual" or "text-encoder", as in config.json.
    embedded: folder below grn/models/embedded, for what comes with the package.
    repo, files: on the hub, today's file first, then those that it had before; no files where none are published.
    vocabulary: of a text encoder, the file on the hub with its vocabulary.
    parameters: of the network, rounded; 0 where only the folder tells. bytes_each: as published.
    tokenizer, text_encoder: names of what a generator works with, where its folder has none.
    sampling: fields of its SamplerConfig that differ from the defaults.
    prompt_tag, image_prompt_tag: what stands before a prompt, and before one whose clip's first frame is given.
    presets: settings that are used where their name is given, as in `grn.models.config.Preset`.
    size, frames, fps: of what a generator makes: pixels a side of a square, frames of a clip at most, their rate.
    note: what a user should know of its settings.
    """

    name: str
    kind: str
    summary: str
    licence: str
    parameters: int = 0
    embedded: str | None = None
    repo: str | None = None
    files: tuple[Published, ...] = ()
    vocabulary: str | None = None
    bytes_each: int = 4
    tokenizer: str | None = None
    text_encoder: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    prompt_tag: str = ""
    image_prompt_tag: str = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    size: int | None = None
    frames: int = 1
    fps: float | None = None
    note: str = ""

    @property
    def file(self) -> str | None:
        """Today's file on the hub."""
        return self.files[0].file if self.files else None

    @property
    def approximate_bytes(self) -> int:
        """Of the published weights."""
        return self.bytes_each * self.parameters

    def published(self, file: str) -> Published | None:
        """The published file of that name."""
        return next((one for one in self.files if Path(one.file).name == file), None)


_ENTRIES = (
    Entry(
        "emoji", "text-to-visual", "text to 128x128 emoji and clips of them, comes with the package",
        "see its model card", embedded="emoji", tokenizer="emoji-tokenizer",
    ),
    Entry(
        "emoji-tokenizer", "tokenizer", "images and clips jointly, C=16, 8 pixels a token, comes with the package",
        "see its model card", embedded="emoji-tokenizer",
    ),
    Entry(
        "hbq-16", "tokenizer", "the authors' image tokenizer, C=16, M=4", _UNSTATED, 703_000_000,
        repo=PUBLISHED_REPO, files=(Published("HBQ_image_tokenizer_16dim_M4.ckpt"),),
    ),
    Entry(
        "hbq-64", "tokenizer", "the authors' joint image and video tokenizer, C=64, M=4", _UNSTATED, 706_000_000,
        repo=PUBLISHED_REPO,
        files=(
            Published("HBQ_image_video_tokenizer_64dim_M4_20260626.ckpt"),
            Published("HBQ_image_video_tokenizer_64dim_M4_20260618.ckpt"),
            Published("HBQ_tokenizer_64dim_M4.ckpt"),
        ),
    ),
    Entry(
        "grn-b", "class-to-image", "GRN_ind-B, ImageNet 256x256", _UNSTATED, 130_000_000,
        repo=PUBLISHED_REPO, files=(Published("GRN_ind_B_ep599.pth"),), tokenizer="hbq-16", sampling=_CLASSES_B,
    ),
    Entry(
        "grn-l", "class-to-image", "GRN_ind-L, ImageNet 256x256", _UNSTATED, 458_000_000,
        repo=PUBLISHED_REPO, files=(Published("GRN_ind_L_ep599.pth"),), tokenizer="hbq-16",
        sampling={"guidance": 2.0, "guidance_start": 0.4, "temperature": 1.3},
    ),
    Entry(
        "grn-h", "class-to-image", "GRN_ind-H, ImageNet 256x256", _UNSTATED, 952_000_000,
        repo=PUBLISHED_REPO, files=(Published("GRN_ind_H_ep599.pth"),), tokenizer="hbq-16", sampling=_CLASSES,
        note="no sampling settings are published for H; these are B's",
    ),
    Entry(
        "grn-g", "class-to-image", "GRN_ind-G, ImageNet 256x256", _UNSTATED, 2_000_000_000,
        tokenizer="hbq-16", sampling={"guidance": 1.7, "guidance_start": 0.3, "temperature": 1.31},
        note="no temperature is published for G; this is B's",
    ),
    Entry(
        "grn-t2i", "text-to-visual", "text to image, 2B", _UNSTATED, 2_200_000_000,
        repo=PUBLISHED_REPO,
        files=(
            _joint("GRN_T2I_2B_FSA_251600.pth"), _joint("GRN_T2I_2B_FSA_137200.pth"), _first("GRN_T2I_2B.pth"),
        ),
        tokenizer="hbq-64", text_encoder="umt5-xxl", sampling=_IMAGES, prompt_tag="<T2I>", size=1024,
    ),
    Entry(
        "grn-t2v", "text-to-visual", "text to video, 2B", _UNSTATED, 2_200_000_000,
        repo=PUBLISHED_REPO, files=(_joint("GRN_T2V_2B_FSA_sft147400_ema.pth"), _first("GRN_T2V_2B.pth")),
        tokenizer="hbq-64", text_encoder="umt5-xxl", sampling=_CLIPS, prompt_tag="<T2V>", presets=_SCRIPTS,
        size=640, frames=81, fps=16.0,
    ),
    Entry(
        "grn-8b", "text-to-visual", "text and image to video, 8B", _UNSTATED, 7_891_000_000,
        repo=PUBLISHED_REPO, files=(_joint("GRN_T2V_TITAN_FSA_sft10600_ema.pth"),),
        tokenizer="hbq-64", text_encoder="umt5-xxl", sampling=_CLIPS, prompt_tag="<T2V>", image_prompt_tag="<I2V>",
        presets=_SCRIPTS, size=640, frames=81, fps=16.0,
    ),
    Entry(
        "grn-8b-t2i", "text-to-visual", "text to 256x256 image, 8B", _UNSTATED, 8_797_000_000,
        repo=PUBLISHED_REPO, files=(_joint("GRN_T2I_titan_FSA_256x256.pth"),),
        tokenizer="hbq-64", text_encoder="umt5-xxl", sampling=_IMAGES, prompt_tag="<T2I>", size=256,
        note="the authors' code selects this file nowhere; the settings are grn-t2i's",
    ),
    Entry(
        "umt5-xxl", "text-encoder", "the text encoder of the authors' text models", _UNSTATED, 5_680_000_000,
        repo=PUBLISHED_REPO, files=(Published("umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth"),),
        vocabulary="umt5-xxl/umt5-xxl/tokenizer.json", bytes_each=2,
    ),
)  # fmt: skip
GENERATORS = ("class-to-image", "text-to-visual")
ENTRIES = {entry.name: entry for entry in _ENTRIES}


def names(kind: str | None = None) -> tuple[str, ...]:
    """Known names, of tokenizers, text encoders, generators, one family of generators (a config's kind), or all."""
    wanted: dict[str | None, Callable[[Entry], bool]] = {
        None: lambda entry: True,
        "generator": lambda entry: entry.kind in GENERATORS,
    }
    accept = wanted.get(kind, lambda entry: entry.kind == kind)
    return tuple(name for name, entry in ENTRIES.items() if accept(entry))


def of_file(file: str) -> Entry | None:
    """The entry that a published file belongs to, by the file's name."""
    return next((entry for entry in ENTRIES.values() if entry.published(file)), None)


def says_joint(file: str) -> bool:
    """Whether a file's name has the authors' mark of joint text attention."""
    return "fsa" in re.split(r"[^a-z0-9]+", file.lower())


def says_task(file: str) -> str | None:
    """The task in a text model's file name, "t2i" or "t2v", None where it names none or both."""
    found = {"t2i", "t2v"} & set(re.split(r"[^a-z0-9]+", file.lower()))
    return found.pop() if len(found) == 1 else None


def default_model() -> str:
    """The generator that is used where none is named: GRN_MODEL, or the embedded one."""
    return os.environ.get("GRN_MODEL") or DEFAULT_MODEL
