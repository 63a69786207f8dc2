"""Text encoders that are networks: one text at a time, remembered.

Axes: L tokens of a text, D their width.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from grn.digests import joint_digest
from grn.errors import EnvironmentFaultError
from grn.files import display
from grn.networks.condition import Texts
from grn.text.cleaning import clean_text

MAX_TOKENS = 512
CACHE_BYTES = 1 << 30


class NetworkEncoder:
    """Texts -> token vectors. The network is loaded for the first text that is new and stays until `release`.

    Each text is run alone, at its own length, and remembered: it comes out the same in any batch, and once a run.
    """

    def __init__(
        self,
        dim: int,
        pieces: Callable[[str], list[int]],
        name: str,
        load: Callable[[], nn.Module],
        fingerprint: Callable[[], str],
    ) -> None:
        """dim: D. pieces: the numbers of a text's tokens. load: makes the network, which is called as those of transformers.
        fingerprint: of what the two are made from.
        """
        self.dim, self.name = dim, name
        self._pieces, self._load, self._fingerprint = pieces, load, fingerprint
        self.network: nn.Module | None = None
        self._known: dict[str, Tensor] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and pieces."""
        return self._fingerprint()

    @property
    def loaded(self) -> bool:
        """Whether the network is in memory."""
        return self.network is not None

    def check(self, prompt: str) -> None:
        """Any text can be read."""

    def notes(self, prompt: str) -> list[str]:
        """There is nothing to say of how a text is read."""
        return []

    def length(self, prompt: str) -> int:
        """How many tokens `encode` makes of a prompt."""
        return len(self._pieces(clean_text(prompt)))

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Texts:
        """Token vectors of each prompt's real tokens, at most 512, on the CPU in the network's type."""
        texts = [clean_text(prompt) for prompt in prompts]
        found = {text: self._known[text] if text in self._known else self._run(text) for text in dict.fromkeys(texts)}
        self._remember(found)
        return Texts(tuple(found[text] for text in texts))

    def release(self) -> None:
        """Let go of the network; the texts that it has run stay known."""
        self.network = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _run(self, text: str) -> Tensor:
        if self.network is None:
            self.network = self._load().eval().requires_grad_(False)
        device = next(self.network.parameters()).device
        numbers = torch.tensor([self._pieces(text)], device=device)
        states: Tensor = self.network(input_ids=numbers, attention_mask=torch.ones_like(numbers)).last_hidden_state
        return states[0].cpu()

    def _remember(self, found: dict[str, Tensor]) -> None:
        self._known = {**{text: value for text, value in self._known.items() if text not in found}, **found}
        size = sum(value.numel() * value.element_size() for value in self._known.values())
        for text in list(self._known):
            if size <= CACHE_BYTES:
                break
            dropped = self._known.pop(text)
            size -= dropped.numel() * dropped.element_size()


def files_fingerprint(paths: Sequence[Path]) -> str:
    """What a fingerprint is of an encoder's files. EnvironmentFaultError where one cannot be read."""
    try:
        return joint_digest(paths)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(str(error.filename))}: cannot be read ({error.strerror or error}); check the disk"
        ) from error
