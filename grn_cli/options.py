"""Options that commands share, and how a command takes many options as one object.

    @command
    def tokenize(inputs: Annotated[list[str], Argument(...)], options: TokenizeOptions, common: Common) -> None: ...

Each field of a dataclass among the parameters becomes an option of the command (its annotation holds the
`typer.Option`), and the function gets the filled-in object.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from grn_cli.console import Console

if TYPE_CHECKING:
    import torch

    from grn.pipeline import Pipeline


class DType(str, Enum):
    """Number formats that networks run in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def _device(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N")
    return value


def device_option(name: str, what: str) -> Any:
    """An option that names a device."""
    return typer.Option(name, metavar="auto|cpu|cuda[:N]", callback=_device, help=what)


def _rounds(value: int | None) -> int | None:
    if value is not None and not 1 <= value <= 16:
        raise typer.BadParameter(f"{value} is out of range (expected 1 to 16)")
    return value


def rounds_option(what: str) -> Any:
    """The `--rounds` option, 1 to 16."""
    return typer.Option("--rounds", metavar="1..16", callback=_rounds, help=what)


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    device: Annotated[str, device_option("--device", "Where to compute.")] = "auto"
    dtype: Annotated[
        DType | None,
        typer.Option(
            "--dtype",
            metavar="float32|bfloat16|float16",
            help="Number format of the networks; the model's own if not given.",
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON, one object a line.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No bars and no warnings.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is used and found.")] = False
    force: Annotated[bool, typer.Option("--force", help="Overwrite files; decode in spite of a mismatch.")] = False
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False

    @functools.cached_property
    def console(self) -> Console:
        """Where this command speaks."""
        return Console(quiet=self.quiet, verbose=self.verbose, as_json=self.json)

    def torch_device(self, device: str | None = None, option: str = "--device") -> str:
        """The device to use, of all or as another `option` says, checked to be there. EnvironmentFaultError where it is not."""
        import torch

        from grn.errors import EnvironmentFaultError

        device = self.device if device is None else device
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device == "auto":
            return "cuda" if found else "cpu"
        number = int(device.partition(":")[2] or 0)
        if device.startswith("cuda") and number >= found:
            raise EnvironmentFaultError(
                f"{option} {device}: no such device (found {found} CUDA devices); use {option} cpu"
            )
        return device

    def torch_dtype(self) -> "torch.dtype | None":
        """The number format asked for, None for the model's own."""
        return torch_type(self.dtype)


def torch_type(dtype: DType | None) -> "torch.dtype | None":
    """torch's name for a number format."""
    if dtype is None:
        return None
    import torch

    found: torch.dtype = getattr(torch, dtype.value)
    return found


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


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flat option for each field of its dataclass parameters."""
    groups: dict[str, type] = {}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            hints = get_type_hints(parameter.annotation, include_extras=True)
            flat += [
                inspect.Parameter(
                    field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
                )
                for field in fields(parameter.annotation)
            ]
        else:
            flat.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
            if isinstance(values[name], Common):
                _ = values[name].console  # from here on, what the library logs is heard
        function(**values)

    run.__name__, run.__doc__, run.__module__ = function.__name__, function.__doc__, function.__module__
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run


def parse_size(value: str | None) -> str | None:
    """Check "256" or "320x240"."""
    if value is not None and not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})?", value):
        raise typer.BadParameter(f"{value!r} is no size; give a number of pixels, or WIDTHxHEIGHT")
    return value
