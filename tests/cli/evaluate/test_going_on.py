"""Long measurements of sets that were interrupted go on where they were, to the same result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.evaluation.kept import Kept
from grn.features.efficientnet import OfflineFeatures
from grn.media import write_image

FAST = ("--resolution", "32", "--batch-size", "2", "--json")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        write_image(tmp_path / "photos" / f"{number}.png", rng.integers(256, size=(32, 32, 3), dtype=np.uint8))
    return tmp_path / "photos"


@pytest.mark.parametrize("command", ["stats", "recon"])
def test_what_was_interrupted_goes_on(
    grn: Any, here: Path, photos: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    line: tuple[object, ...] = ("eval", "stats", photos, "--size", 32, "--force", "-o", "x.npz", *FAST)
    if command == "recon":
        line = ("eval", "recon", "--data", photos, "--size", 32, "--tokenizer", tokenizer, "--rounds", "1,none", *FAST)
    plain = json.loads(grn(*line).text), Path("x.npz").read_bytes() if command == "stats" else b""
    monkeypatch.setattr(Kept, "every", 0.0)
    forward, seen = OfflineFeatures.forward, [0]

    def ends(self: OfflineFeatures, pixels: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == limit:
            raise KeyboardInterrupt
        return forward(self, pixels)

    monkeypatch.setattr(OfflineFeatures, "forward", ends)
    per_batch = 1 if command == "stats" else 3  # the originals, and at two numbers of rounds
    limit = 2 * per_batch + 1
    assert grn(*line).code == 130
    seen, limit = [0], 0
    outcome = grn(*line)
    assert seen[0] == per_batch
    assert (json.loads(outcome.text), Path("x.npz").read_bytes() if command == "stats" else b"") == plain
    seen[0] = 0
    grn(*line)
    assert seen[0] == 3 * per_batch  # what was gathered went with the result
