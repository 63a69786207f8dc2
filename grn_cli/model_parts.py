"""Options that say what a generator works with, and where each part of it computes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.options import Common, DType, device_option, torch_type

if TYPE_CHECKING:
    from grn.pipeline import Pipeline

_DEVICE, _DTYPE = "auto|cpu|cuda[:N]", "float32|bfloat16|float16"


@dataclass(frozen=True)
class PartOptions:
    """The tokenizer and the text encoder of a generator; what is not given is the model's own, or as --device and --dtype say."""

    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="NAME|FOLDER", help="Tokenizer to use; the model's own if not given."),
    ] = None
    tokenizer_device: Annotated[
        str | None, device_option("--tokenizer-device", "Where the tokenizer computes; as --device if not given.")
    ] = None
    tokenizer_dtype: Annotated[
        DType | None,
        typer.Option("--tokenizer-dtype", metavar=_DTYPE, help="The tokenizer's number format; as --dtype."),
    ] = None
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            metavar="NAME|FOLDER",
            help="Text encoder to use, also one that transformers wrote; the model's own if not given.",
        ),
    ] = None
    text_device: Annotated[
        str | None, device_option("--text-device", "Where prompts are encoded; as --device if not given.")
    ] = None
    text_dtype: Annotated[
        DType | None,
        typer.Option(
            "--text-dtype", metavar=_DTYPE, help="The text encoder's number format; as --dtype, or as stored."
        ),
    ] = None

    def load(self, name: str, common: Common) -> "Pipeline":
        """The model and its parts; a text encoder's network leaves once the prompts are encoded.

        Raises ModelNotFoundError, ConfigError, ModelMismatchError, UsageError or EnvironmentFaultError.
        """
        from grn.pipeline import Part, Pipeline

        def part(what: str, name: str | None, device: str | None, dtype: DType | None) -> Any:
            where = None if device is None else common.torch_device(device, f"--{what}-device")
            return Part(name, where, torch_type(dtype))

        return Pipeline.from_pretrained(
            name,
            common.torch_device(),
            common.torch_dtype(),
            common.offline,
            tokenizer=part("tokenizer", self.tokenizer, self.tokenizer_device, self.tokenizer_dtype),
            text=part("text", self.text_encoder, self.text_device, self.text_dtype),
            free_text=True,
        )
