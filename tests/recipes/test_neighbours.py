"""Ranks among real pictures of the same style, against a plain sort; a whole measurement of a model that copies."""

import argparse
import importlib.util
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tars import pack
from PIL import Image
from sampling_options import SAMPLING

from grn import hbq
from grn.errors import BadInputError
from grn.tokenizer import Tokenizer

_SCRIPT = Path(__file__).parents[2] / "recipes/emoji/neighbours.py"
_SPEC = importlib.util.spec_from_file_location("neighbours", _SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
script = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(script)
Label, match, share_within = script.Label, script.match, script.share_within


def test_ranks_equal_a_plain_sort_within_the_style() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = [Label(f"name {i}", style) for style in ("noto", "3d") for i in range(8)]
    gallery = torch.randn(16, 5, generator=generator) * torch.rand(16, 1, generator=generator)
    queries = torch.randn(16, 5, generator=generator)
    found = match(queries, labels, gallery, labels)
    for query, label, m in zip(queries, labels, found, strict=True):
        own = [i for i, other in enumerate(labels) if other.style == label.style]
        order = sorted(own, key=lambda i: -torch.cosine_similarity(query, gallery[i], dim=0).item())
        assert [labels[i].name for i in order].index(label.name) + 1 == m.rank
        assert m.nearest == labels[order[0]].name
    assert len({m.rank for m in found}) > 2


def test_of_several_pictures_with_the_name_the_nearest_counts() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    labels = [Label("cat", "noto"), Label("cat", "noto"), Label("dog", "noto")]
    (found,) = match(torch.tensor([[0.1, 1.0]]), [Label("cat", "noto")], gallery, labels)
    assert (found.rank, found.nearest) == (1, "cat")
    (found,) = match(torch.tensor([[0.55, 0.8]]), [Label("cat", "noto")], gallery, labels)
    assert (found.rank, found.nearest) == (2, "dog")


def test_share_within_counts_ranks() -> None:
    labels = [Label(str(i), "g") for i in range(4)]
    gallery = torch.eye(4)
    queries = torch.tensor([[1.0, 0, 0, 0], [1, 0.9, 0, 0], [1, 0.9, 0.8, 0], [1, 0.9, 0.8, 0.7]])
    found = match(queries, labels, gallery, labels)
    assert [m.rank for m in found] == [1, 2, 3, 4]
    assert [share_within(found, k) for k in (1, 2, 5)] == [0.25, 0.5, 1.0]


def test_a_name_that_the_gallery_lacks_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"'dog' in 'noto'.*--among"):
        match(torch.ones(1, 2), [Label("dog", "noto")], torch.ones(2, 2), [Label("cat", "noto"), Label("dog", "3d")])


@dataclass
class Copied:
    """What a pipeline yields, of a picture of the set."""

    frames: np.ndarray
    steps: int = 1
    entropy: float | None = None


class Copier:
    """A model that knows some captions by heart and draws grey for the others."""

    name = "copier"

    def __init__(self, known: dict[str, np.ndarray]) -> None:
        self.known = known
        self.settings: list[dict[str, int]] = []

    def __call__(self, prompts: list[str], **settings: int) -> Iterator[Copied]:
        self.settings.append(settings)
        for prompt in prompts:
            yield Copied(self.known.get(prompt, np.full((32, 32, 3), 128, np.uint8))[None])


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A captioned set of 12 random pictures in two styles, and the pictures by caption."""
    rng, members, known = np.random.default_rng(0), [], {}
    for i in range(12):
        name, style = f"thing {i % 6}", ("noto", "3d")[i // 6]
        file, caption = io.BytesIO(), f"a {name}, {style} style"
        known[caption] = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(known[caption]).save(file, "PNG")
        members += [(f"{style}-{i}.png", file.getvalue()), (f"{style}-{i}.txt", caption.encode())]
        members.append((f"{style}-{i}.json", json.dumps({"name": name, "style": style}).encode()))
    return pack(tmp_path / "set.tar", members), known


def asked(data: Path, **more: object) -> argparse.Namespace:
    """Arguments as the command line gives them."""
    given = {"among": None, "keep": None, "num": 200, "seed": 0, "rounds": None, "resolution": 32}
    given |= dict.fromkeys(SAMPLING)
    return argparse.Namespace(data=data, batch_size=5, device="cpu", **{**given, **more})


def test_who_copies_is_right_and_who_mixes_up_is_not(pictures: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, known = pictures
    good = script.compare(Copier(known), asked(path))
    assert (good["top1"], good["top5"], good["generated"], good["among"]) == (1.0, 1.0, 12, 12)
    mixed_up = dict(zip(known, [*known.values()][1:] + [*known.values()][:1], strict=True))
    bad = script.compare(Copier(mixed_up), asked(path))
    assert bad["top1"] == 0
    assert bad["matches"][0]["nearest"] == "thing 1"
    assert {m["rank"] for m in bad["matches"]} <= set(range(1, 7))


def test_a_tokenizer_that_loses_nothing_is_right(
    pictures: tuple[Path, dict[str, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one that keeps each pixel as it is, many rounds are the picture and one is a few colours."""
    path, _ = pictures
    asks: list[int] = []

    class Whole(Tokenizer):
        name, device = "whole", torch.device("cpu")

        def __init__(self) -> None:
            self.network = SimpleNamespace(config=SimpleNamespace(rounds=7))

        def features(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels * 0.999

        def decode(self, indices: torch.Tensor, rounds: int) -> torch.Tensor:
            asks.append(rounds)
            return hbq.decode(indices.movedim(-1, 1), rounds)

    whole, coarse = (script.compare(Whole(), asked(path, rounds=rounds)) for rounds in (None, 1))
    assert (whole["model"], whole["top1"], whole["generated"]) == ("whole", 1.0, 12)
    assert coarse["top1"] <= whole["top1"]
    assert set(asks) == {7, 1}
    with pytest.raises(SystemExit):
        script.main(["--rounds", "2"])
    with pytest.raises(SystemExit):
        script.main(["--through", "emoji-tokenizer", "--guidance-start", "0.3"])
    assert "--guidance-start: is of models" in capsys.readouterr().err


def test_what_is_asked_for_is_done(pictures: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, known = pictures
    copier = Copier(known)
    some = script.compare(copier, asked(path, num=3, seed=1, steps=7, guidance=0.0, keep="3d", among=[path, path]))
    assert (some["generated"], some["among"]) == (3, 12)
    assert {m["style"] for m in some["matches"]} == {"3d"}
    assert copier.settings == [{"seed": 1, "batch_size": 5, "steps": 7, "guidance": 0.0}]


def test_pictures_without_names_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    bare = pack(tmp_path / "bare.tar", [("photo.png", file.getvalue())])
    with pytest.raises(BadInputError, match=r"photo: its JSON has no name and style"):
        script.compare(Copier({}), asked(bare))
