"""Examples of different sizes as one batch: what has one shape is stacked, what has not stays a list, for a packed sequence."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of examples with the same keys; tensors of one key whose shapes differ are a list of tensors."""
    return {key: _together([example[key] for example in examples]) for key in examples[0]}


def _together(values: list[Any]) -> Any:
    ragged = isinstance(values[0], Tensor) and len({value.shape for value in values}) > 1
    return values if ragged else default_collate(values)
