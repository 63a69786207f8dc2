"""`grn eval recon` of clips and `grn eval motion`, with tiny models."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.errors import UsageError
from grn.media import VideoWriter
from grn_cli.evaluate.recon import parse_rounds

FAST = ("--resolution", "32")


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four captioned clips of 12 frames at 8 a second, in a folder of the current one; one of them stands still."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(0)
    for i, word in enumerate(("cat", "dog", "red cat", "house")):
        base = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        with VideoWriter(tmp_path / "clips" / f"{i}.webp", 48, 40, 8) as video:
            for t in range(12):
                video.write(np.roll(base, i * t, axis=1))
        (tmp_path / "clips" / f"{i}.txt").write_text(word)
        (tmp_path / "clips" / f"{i}.json").write_text(json.dumps({"style": "odd" if i % 2 else "even"}))
    return tmp_path / "clips"


def test_recon_of_clips(grn: Any, clips: Path, tokenizer: Path) -> None:
    base = ("eval", "recon", "--data", clips, "--tokenizer", tokenizer, "--size", 32, *FAST)
    record = json.loads(grn(*base, "--frames", 5, "--rounds", "1,4,none", "--json").text)
    assert (record["clips"], record["frames"], record["size"]) == (4, 5, 32)
    assert record["features"].endswith(", frame pairs")
    assert [row["rounds"] for row in record["rows"]] == [1, 4, None]
    assert record["rows"][1]["bits_per_pixel"] == pytest.approx(2 * 4 * 4 * 4 / (5 * 32 * 32))
    text = grn(*base, "--frames", 5, "--rounds", "1,4,none").text
    assert text.startswith("tiny, 4 clips of 32x32, 5 frames; Frechet distance with ")
    changed = [grn(*base, "--rounds", "4", "--json", *more).text for more in (
        ("--frames", 5), ("--frames", 9), ("--frames", 5, "--fps", 4), ("--frames", 5, "-n", 2), ()
    )]  # fmt: skip
    assert len(set(changed)) == 5
    refused = grn(*base, "--fps", 4)
    assert (refused.code, refused.err) == (2, "grn: error: --fps: is the rate of clips; give --frames too\n")


class Clips(torch.nn.Module):
    """Stands for I3D."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([clips.mean((2, 3, 4)), clips.std(2).mean((2, 3))], 1)


def test_fvd_with_a_given_network(grn: Any, clips: Path, tokenizer: Path) -> None:
    torch.jit.save(torch.jit.script(Clips()), "i3d.pt")
    base = ("eval", "recon", "--data", clips, "--tokenizer", tokenizer, "--size", 32, "--rounds", "1,none", *FAST)
    record = json.loads(grn(*base, "--frames", 9, "--i3d", "i3d.pt", "--json").text)
    assert record["fvd_features"] == "I3D, clips of 9 frames, 224x224 pixels, bilinear"
    assert all(row["fvd"] > 0 for row in record["rows"])
    assert "rFVD" in grn(*base, "--frames", 9, "--i3d", "i3d.pt").text
    refused = grn(*base, "--i3d", "i3d.pt")
    assert (refused.code, "give --frames too" in refused.err) == (2, True)
    pair = ("eval", "video", clips, clips, "--i3d", "i3d.pt", "--json")
    record = json.loads(grn(*pair, "--frames", 9).text)
    assert (record["frames"], record["stride"], record["fps"], record["clips"]) == (9, 1, 8, 4)
    assert record["fvd"] < 1e-6
    assert record["preparation"] == "224x224 pixels, bilinear"
    assert "hold 0 clips of 9 frames" in grn(*pair, "--frames", 9, "--stride", 2).err
    assert json.loads(grn("eval", "video", clips, clips, "--stride", 3, "--json", *FAST).text)["pairs"] == 12
    text = grn(*pair[:-1], "--frames", 12).text
    assert text.startswith(
        "FVD 0.000 (I3D, 224x224 pixels, bilinear; 4 against 4 clips of 12 frames, stride 1, 8 frames a second)"
    )


def test_motion(grn: Any, clips: Path, clips_model: Path) -> None:
    base = ("eval", "motion", "--data", clips, "-m", clips_model, "-n", 3)
    record = json.loads(grn(*base, "--json").text)
    assert record["model"] == "tiny-clips"
    assert (record["generated"]["clips"], record["generated"]["pairs"]) == (3, 3 * 8)
    assert (record["data"]["clips"], record["data"]["pairs"]) == (3, 3 * 8)
    assert 0 < record["data"]["moving"] < 1
    title, _, generated, data = grn(*base).text.splitlines()
    assert title == "tiny-clips: clips of 9 frames of 64x64; levels are of 255"
    assert generated.split()[:2] == ["generated", "3"]
    assert generated.split()[-1] == f"{record['generated']['flicker']:.1%}"
    assert data.split()[-2:] == [f"{record['data']['moving']:.1%}", "-"]
    results = [
        grn(*base, "--json", *more).text
        for more in ((), ("--seed", 1), ("--steps", 1), ("--guidance", 5), ("--keep", "style=odd"))
    ]
    assert len(set(results)) == 5
    assert grn(*base, "--json", "--batch-size", 1).text == results[0]


def test_motion_of_a_model_of_both_is_of_its_clips(grn: Any, clips: Path, clips_model: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(clips_model, both)
    config = json.loads((both / "config.json").read_text())
    (both / "config.json").write_text(json.dumps(config | {"stills": True}))
    base = ("eval", "motion", "--data", clips, "-n", 2, "--json")
    assert grn(*base, "-m", both).text == grn(*base, "-m", clips_model).text


@pytest.mark.parametrize(
    ("options", "code", "err"),
    [
        ("-m @words", 2, "--model: tiny-words draws still pictures, which do not move; name a video model"),
        ("-m @clips --data none", 3, "none: no such folder or tar; give a folder of clips"),
        ("-m @clips --data bare", 3, "has no caption to generate by"),
        ("-m @clips", 3, "make it with `python recipes/emoji/prepare_video.py`"),
    ],
)
def test_motion_refuses(
    grn: Any, clips: Path, words: Path, clips_model: Path, options: str, code: int, err: str
) -> None:
    (clips.parent / "bare").mkdir()
    (clips.parent / "bare" / "0.webp").write_bytes((clips / "0.webp").read_bytes())
    places = {"@words": words, "@clips": clips_model}
    outcome = grn("eval", "motion", *[places.get(word, word) for word in options.split()])
    assert outcome.code == code
    assert err in outcome.err
    assert outcome.err.count("\n") == 1


def test_parse_rounds() -> None:
    assert parse_rounds("1,2, 8,none") == [1, 2, 8, None]
    for text in ("0", "17", "1,,2", "all", "-1", ""):
        with pytest.raises(UsageError, match="--rounds"):
            parse_rounds(text)
