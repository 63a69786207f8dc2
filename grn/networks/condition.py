"""What a generator draws to order: classes or texts, a batch at a time.

Axes: B samples, L text tokens, D their width.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


class Condition(ABC):
    """What to draw, one entry a sample."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples it is of."""

    @abstractmethod
    def rows(self, index: Tensor) -> "Condition":
        """Select the samples that `index`, int64, names, in its order."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "Condition":
        """Move to `device`."""


@dataclass(frozen=True)
class ClassCondition(Condition):
    """labels: int64 [B]; `num_classes` stands for no class."""

    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    def rows(self, index: Tensor) -> "ClassCondition":
        """Select the samples that `index` names."""
        return ClassCondition(self.labels[index])

    def to(self, device: torch.device | str) -> "ClassCondition":
        return ClassCondition(self.labels.to(device))

    @classmethod
    def cat(cls, parts: Sequence["ClassCondition"]) -> "ClassCondition":
        return cls(torch.cat([part.labels for part in parts]))


@dataclass(frozen=True)
class TextCondition(Condition):
    """tokens: float [B, L, D]; mask: bool [B, L], True where there is a token."""

    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def rows(self, index: Tensor) -> "TextCondition":
        """Select the samples that `index` names."""
        return TextCondition(self.tokens[index], self.mask[index])

    def to(self, device: torch.device | str) -> "TextCondition":
        return TextCondition(self.tokens.to(device), self.mask.to(device))

    def trimmed(self) -> "TextCondition":
        """The same without the padding behind the longest text."""
        longest = int(self.mask.sum(1).max())
        return TextCondition(self.tokens[:, :longest], self.mask[:, :longest])

    @classmethod
    def cat(cls, parts: Sequence["TextCondition"]) -> "TextCondition":
        """Join conditions along the batch; shorter texts are padded."""
        longest = max(part.mask.shape[1] for part in parts)
        return cls(
            torch.cat([pad_length(part.tokens, longest, 1) for part in parts]),
            torch.cat([pad_length(part.mask, longest, 1) for part in parts]),
        )


@dataclass(frozen=True)
class Texts(Condition):
    """Texts of many lengths, padded only when they are drawn from: tokens[i] float [L_i, D]. Equal texts may share one."""

    tokens: tuple[Tensor, ...]
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Tensor) -> TextCondition:
        """Select the samples that `index` names, padded to the longest of them."""
        chosen = [self.tokens[i] for i in index.tolist()]
        tokens = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        lengths = torch.tensor([len(text) for text in chosen])
        return TextCondition(tokens, torch.arange(tokens.shape[1])[None] < lengths[:, None]).to(self.device)

    def to(self, device: torch.device | str) -> "Texts":
        """Move to `device`, when it is padded."""
        return Texts(self.tokens, device)


def pad_length(x: Tensor, length: int, dim: int) -> Tensor:
    """Pad axis `dim` with zeros (False) up to `length`."""
    missing = length - x.shape[dim]
    return F.pad(x, [0, 0] * (x.dim() - 1 - dim) + [0, missing]) if missing else x
