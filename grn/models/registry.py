"""The models that are known by name.

Importing this is cheap and reads nothing; the sizes of the networks are in `grn.generator.presets`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

DEFAULT_MODEL = "emoji"
DEFAULT_TOKENIZER = "emoji-tokenizer"
PUBLISHED_REPO = "bytedance-research/GRN"
_UNSTATED = "see the authors' repository"
_CLASSES: dict[str, float | str] = {"guidance": 2.35, "guidance_start": 0.44, "temperature": 1.31}
_TEXT: dict[str, float | str] = {"curve": "cosine", "ratio_shown": "kept"}


@dataclass(frozen=True)
class Entry:
    """What is known of a name before anything is read.

    kind: "tokenizer", "class-to-image" or "text-to-visual", as in config.json.
    embedded: folder below grn/models/embedded, for what comes with the package.
    repo, file: on the hub; file is None where the authors have published none.
    parameters: of the network, rounded; 0 where only the folder tells.
    tokenizer: name of the tokenizer whose codes a generator makes.
    sampling: fields of its SamplerConfig that differ from the defaults.
    """

    name: str
    kind: str
    summary: str
    licence: str
    parameters: int = 0
    embedded: str | None = None
    repo: str | None = None
    file: str | None = None
    tokenizer: str | None = None
    sampling: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def approximate_bytes(self) -> int:
        """Of the weights in float32; what is on disk may be half of it."""
        return 4 * self.parameters


_ENTRIES = (
    Entry(
        "emoji", "text-to-visual", "text to 128x128 emoji, comes with the package", "see its model card",
        embedded="emoji", tokenizer="emoji-pictures",
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
        repo=PUBLISHED_REPO, file="GRN_T2I_2B.pth", tokenizer="hbq-64",
        sampling={**_TEXT, "guidance": 3.0, "temperature": 1.1},
    ),
    Entry(
        "grn-t2v", "text-to-visual", "text to video", _UNSTATED, 2_200_000_000,
        repo=PUBLISHED_REPO, file="GRN_T2V_2B.pth", tokenizer="hbq-64",
        sampling={**_TEXT, "guidance": 4.0, "temperature": 1.0},
    ),
)  # fmt: skip
ENTRIES = {entry.name: entry for entry in _ENTRIES}


def names(kind: str | None = None) -> tuple[str, ...]:
    """Known names, of tokenizers, of generators, of one family of generators (a config's kind), or all."""
    wanted: dict[str | None, Callable[[Entry], bool]] = {
        None: lambda entry: True,
        "generator": lambda entry: entry.kind != "tokenizer",
    }
    accept = wanted.get(kind, lambda entry: entry.kind == kind)
    return tuple(name for name, entry in ENTRIES.items() if accept(entry))


def default_model() -> str:
    """The generator that is used where none is named: GRN_MODEL, or the embedded one."""
    return os.environ.get("GRN_MODEL") or DEFAULT_MODEL
