"""The models that are known by name.

Importing this is cheap and reads nothing; the sizes of the networks are in `grn.networks.presets`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_MODEL = "emoji"
DEFAULT_VIDEO_MODEL = "emoji-video"
DEFAULT_TOKENIZER = "emoji-tokenizer"
PUBLISHED_REPO = "bytedance-research/GRN"
_UNSTATED = "see the authors' repository"
_CLASSES: dict[str, float | str] = {"guidance": 2.35, "guidance_start": 0.44, "temperature": 1.31}
_TEXT: dict[str, float | str] = {"curve": "cosine", "ratio_shown": "kept"}


@dataclass(frozen=True)
class Entry:
    """What is known of a name before anything is read.

    kind: "tokenizer", "class-to-image", "text-to-visual" or "text-encoder", as in config.json.
    embedded: folder below grn/models/embedded, for what comes with the package.
    repo, file: on the hub; file is None where the authors have published none.
    vocabulary: of a text encoder, the file on the hub with its vocabulary.
    parameters: of the network, rounded; 0 where only the folder tells. bytes_each: as published.
    tokenizer, text_encoder: names of what a generator works with, where its folder has none.
    sampling: fields of its SamplerConfig that differ from the defaults.
    size, frames, fps: of what a generator draws: pixels a side of a square, frames of a clip at most, their rate.
    """

    name: str
    kind: str
    summary: str
    licence: str
    parameters: int = 0
    embedded: str | None = None
    repo: str | None = None
    file: str | None = None
    vocabulary: str | None = None
    bytes_each: int = 4
    tokenizer: str | None = None
    text_encoder: str | None = None
    sampling: Mapping[str, float | str] = field(default_factory=dict)
    size: int | None = None
    frames: int = 1
    fps: float | None = None

    @property
    def approximate_bytes(self) -> int:
        """Of the published weights."""
        return self.bytes_each * self.parameters


_ENTRIES = (
    Entry(
        "emoji", "text-to-visual", "text to 128x128 emoji, comes with the package", "see its model card",
        embedded="emoji", tokenizer="emoji-pictures",
    ),
    Entry(
        "emoji-video", "text-to-visual", "text to 128x128 clips of emoji, comes with the package", "see its model card",
        embedded="emoji-video", tokenizer="emoji-video-tokenizer", text_encoder="emoji",
    ),
    Entry(
        "emoji-tokenizer", "tokenizer", "any image or clip, C=16, comes with the package", "see its model card",
        embedded="emoji-tokenizer",
    ),
    Entry(
        "emoji-pictures", "tokenizer", "the emoji model's own, C=16, M=2, comes with the package", "see its model card",
        embedded="emoji/tokenizer",
    ),
    Entry(
        "emoji-video-tokenizer", "tokenizer", "images and clips jointly, C=16, 4 frames a token, comes with the package",
        "see its model card", embedded="emoji-video-tokenizer",
    ),
    Entry(
        "hbq-16", "tokenizer", "the authors' image tokenizer, C=16, M=4", _UNSTATED, 703_000_000,
        repo=PUBLISHED_REPO, file="HBQ_image_tokenizer_16dim_M4.ckpt",
    ),
    Entry(
        "hbq-64", "tokenizer", "the authors' joint image and video tokenizer, C=64, M=4", _UNSTATED, 706_000_000,
        repo=PUBLISHED_REPO, file="HBQ_tokenizer_64dim_M4.ckpt",
    ),
    Entry(
        "grn-b", "class-to-image", "GRN_ind-B, ImageNet 256x256", _UNSTATED, 130_000_000,
        repo=PUBLISHED_REPO, file="GRN_ind_B_ep599.pth", tokenizer="hbq-16", sampling=_CLASSES,
    ),
    Entry(
        "grn-l", "class-to-image", "GRN_ind-L, ImageNet 256x256", _UNSTATED, 458_000_000,
        tokenizer="hbq-16", sampling=_CLASSES,
    ),
    Entry(
        "grn-h", "class-to-image", "GRN_ind-H, ImageNet 256x256", _UNSTATED, 952_000_000,
        tokenizer="hbq-16", sampling=_CLASSES,
    ),
    Entry(
        "grn-g", "class-to-image", "GRN_ind-G, ImageNet 256x256", _UNSTATED, 2_000_000_000,
        tokenizer="hbq-16", sampling=_CLASSES,
    ),
    Entry(
        "grn-t2i", "text-to-visual", "text to image", _UNSTATED, 2_200_000_000,
        repo=PUBLISHED_REPO, file="GRN_T2I_2B.pth", tokenizer="hbq-64", text_encoder="umt5-xxl",
        sampling={**_TEXT, "guidance": 3.0, "temperature": 1.1}, size=1024,
    ),
    Entry(
        "grn-t2v", "text-to-visual", "text to video", _UNSTATED, 2_200_000_000,
        repo=PUBLISHED_REPO, file="GRN_T2V_2B.pth", tokenizer="hbq-64", text_encoder="umt5-xxl",
        sampling={**_TEXT, "guidance": 4.0, "temperature": 1.0}, size=640, frames=81, fps=16.0,
    ),
    Entry(
        "umt5-xxl", "text-encoder", "the text encoder of grn-t2i and grn-t2v", _UNSTATED, 5_680_000_000,
        repo=PUBLISHED_REPO, file="umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth",
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


def entry_like(kind: str, name: str, file: str = "", channels: int | None = None) -> Entry | None:
    """The entry whose settings suit a published model: that of its name or file, else a generator's of its kind and channels."""
    alike = [entry for entry in ENTRIES.values() if entry.kind == kind and entry.repo]
    named = [entry for entry in alike if entry.name == name or (file and Path(entry.file or "").name == file)]
    others = [entry for entry in alike if kind in GENERATORS and entry.tokenizer == f"hbq-{channels}"]
    return next(iter([*named, *others]), None)


def default_model(clips: bool = False) -> str:
    """The generator that is used where none is named: GRN_MODEL, or the embedded one of pictures or clips."""
    return os.environ.get("GRN_MODEL") or (DEFAULT_VIDEO_MODEL if clips else DEFAULT_MODEL)
