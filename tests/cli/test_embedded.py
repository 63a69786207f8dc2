"""What comes inside the package does what the README says of it, with its real weights."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.evaluation.video import measure_motion
from grn.hub import registry
from grn.hub.resolve import EMBEDDED, resolve
from grn.media import open_media, read_image
from grn.models.folder import ModelFolder
from grn.pipeline import Pipeline
from grn.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
MODELS = [name for name, entry in registry.ENTRIES.items() if entry.embedded]


def test_the_package_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 64 * MEGABYTE


@pytest.mark.parametrize("name", MODELS)
def test_every_embedded_model_has_a_card_and_weights_that_are_its_own(name: str) -> None:
    folder = resolve(name).folder
    assert ModelFolder.open(folder).config.name == name
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# {name}\n")
    assert "## Licence" in card or "licences" in card
    kind = registry.ENTRIES[name].kind
    loaded: Any = Tokenizer.from_pretrained(name) if kind == "tokenizer" else Pipeline.from_pretrained(name)
    assert loaded.name == name


def test_codes_of_the_sheet_are_as_large_as_the_readme_shows(grn: Any, tmp_path: Path) -> None:
    (shown,) = re.findall(r"\$ wc -c < codes\.npz\n(\d+)\n", (ROOT / "README.md").read_text(encoding="utf-8"))
    grn("tokenize", ROOT / "docs" / "sheet.png", "-o", tmp_path / "codes.npz")
    assert (tmp_path / "codes.npz").stat().st_size == int(shown)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_words_become_a_clip_where_no_model_is_named(
    grn: Any, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRN_MODEL", raising=False)
    out = tmp_path / f"cat{suffix}"
    outcome = grn("generate", "a dancing cat", "--seconds", 2, "--steps", 2, "-o", out)
    assert (outcome.code, outcome.err) == (0, "")
    with open_media(out) as media:
        assert (media.kind, media.width, media.height) == ("video", 128, 128)
        assert media.fps == pytest.approx(6, rel=0.01)
        assert len(list(media)) == 12


def test_a_heart_beats() -> None:
    (result,) = Pipeline.from_pretrained("emoji")(["a beating heart"], size=(17, 128, 128), steps=12)
    motion = measure_motion([result.frames])
    assert motion.pairs == 16
    assert 0.01 < motion.moving < 0.5
    red = result.frames[:, 48:80, 48:80].mean((0, 1, 2))
    assert red[0] > red[1] + 60
    assert red[0] > red[2] + 30


def test_the_tokenizer_keeps_what_a_picture_shows() -> None:
    """On a drawing that it has seen only the like of; the model card has the figures of whole sets."""
    frame = read_image(ROOT / "docs" / "sheet.png")[:256, :256]
    pixels = (np.moveaxis(frame, -1, 0)[None, :, None] / 127.5 - 1).astype(np.float32)
    drawn = Tokenizer.from_pretrained("emoji-tokenizer").reconstruct_pixels(torch.from_numpy(pixels), 4)
    assert -10 * np.log10(((drawn.numpy() - pixels) ** 2).mean() / 4) > 34
