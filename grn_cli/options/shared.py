"""Options that several commands have, each group as small as what reads it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import Any

from grn_cli.console import Console
from grn_cli.options.fields import device, option

DEVICES, DTYPES = "auto|cpu|cuda[:N]", "float32|bfloat16|float16"


class DType(str, Enum):
    """Number formats that networks run in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Compile(str, Enum):
    """Whether to compile."""

    auto = "auto"
    on = "on"
    off = "off"


def dtype_option(text: str, *names: str) -> Any:
    """An option that names a number format."""
    return option(text, DTYPES, *names)


@dataclass(frozen=True, kw_only=True)
class Speaking:
    """How a command speaks: every one has these."""

    PANEL = "Common"

    json: bool = option("Print results as JSON, one object a line.", default=False)
    quiet: bool = option("No bars and no warnings.", None, "--quiet", "-q", default=False)
    verbose: bool = option("Say what is used and found.", None, "--verbose", "-v", default=False)

    @functools.cached_property
    def console(self) -> Console:
        """Where this command speaks."""
        return Console(quiet=self.quiet, verbose=self.verbose, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Overwriting:
    """Of commands that write files."""

    PANEL = "Common"

    force: bool = option("Overwrite files that are there.", default=False)


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """Of commands that may fetch a model."""

    PANEL = "Common"

    offline: bool = option("Never touch the network.", default=False)


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """Of commands that compute."""

    PANEL = "Common"

    device: str = option("Where to compute: auto is a GPU if there is one.", DEVICES, default="auto", check=device)


@dataclass(frozen=True, kw_only=True)
class Computing(OnDevice, Fetching):
    """Of commands that run a model."""

    PANEL = "Common"

    dtype: DType | None = dtype_option(
        "Number format that networks compute in. If not given, bfloat16 on GPUs and on processors that multiply it "
        "faster, else float32, whose results repeat everywhere."
    )


@dataclass(frozen=True, kw_only=True)
class ExactComputing(OnDevice, Fetching):
    """Of commands whose codes are to be the same on every machine."""

    PANEL = "Common"

    dtype: DType | None = dtype_option(
        "Number format that networks compute in. If not given, float32, which makes the same codes on every machine; "
        "bfloat16 and float16 can be faster, and change a few of them."
    )


@dataclass(frozen=True, kw_only=True)
class Compiling:
    """Of commands whose work can be long enough."""

    PANEL = "Common"

    compile: Compile | None = option(
        "Compile the generator's network: auto, if not given, where the work is long enough to pay for it, and not in float32.",
        "auto|on|off",
    )


@dataclass(frozen=True, kw_only=True)
class Parts(Compiling, Computing):
    """The tokenizer and the text encoder of a generator."""

    PANEL = "Parts of the model"

    tokenizer: str | None = option("Another tokenizer than the model's own.", "TOKENIZER|FOLDER")
    tokenizer_device: str | None = option("Where it computes, if not on --device.", DEVICES, check=device)
    tokenizer_dtype: DType | None = dtype_option("Its number format, if not --dtype.")
    text_encoder: str | None = option(
        "Another text encoder than the model's own; also a folder that transformers wrote.", "ENCODER|FOLDER"
    )
    text_device: str | None = option("Where prompts are encoded, if not on --device.", DEVICES, check=device)
    text_dtype: DType | None = dtype_option("The text encoder's number format, if not --dtype or as it is stored.")
    offload: bool = option(
        "Have only the block in use on the device: little memory, more time. The others wait in the computer's memory, on a "
        "CPU in their file.",
        default=False,
    )
