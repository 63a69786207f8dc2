"""How a script's pictures are sampled, as options of its command line: what is not given is the model's own."""

import argparse
from typing import Any

SAMPLING = ("steps", "temperature", "guidance", "guidance_start", "guidance_end")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The options `SAMPLING`, fields of `SamplerConfig`."""
    for name in SAMPLING:
        parser.add_argument(option_of(name), type=int if name == "steps" else float, help="else as the model says")


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that are not left to the model."""
    given = {name: getattr(arguments, name) for name in SAMPLING}
    return {name: value for name, value in given.items() if value is not None}


def option_of(name: str) -> str:
    """A setting as it is typed."""
    return f"--{name.replace('_', '-')}"
