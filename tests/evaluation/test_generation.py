"""Pictures drawn to be measured: by any number of processes, in any batches, again after an end, always the same."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.errors import BadInputError, UsageError
from grn.evaluation.blocks import BLOCK
from grn.evaluation.files import Wanted, draw_files, made_so
from grn.evaluation.generation import Plan, Work, spread
from grn.evaluation.shares import shares
from grn.files import locked


class MeanColour:
    name, dim = "mean colour", 3

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))

    def probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        return self(pixels).softmax(1)


@dataclass
class Result:
    frames: np.ndarray
    record: dict[str, Any] = field(default_factory=dict)
    steps: int = 7
    entropy: float | None = 0.5


@dataclass
class Drawer:
    """Draws a picture of a prompt and a seed, and ends after `lasts`."""

    lasts: int = 1000
    drawn: list[int] = field(default_factory=list)

    def __call__(self, prompts: Sequence[Any], seeds: Sequence[int]) -> Iterator[Result]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            if len(self.drawn) == self.lasts:
                raise KeyboardInterrupt
            self.drawn.append(seed)
            frames = np.random.default_rng([seed, prompt]).integers(0, 256, (1, 4, 4, 3), np.uint8)
            record = {"prompt": prompt, "seed": seed, "steps": 7, "entropy": 0.5, "sampling": {"guidance": 1.0}}
            yield Result(frames, {**record, "negative_prompt": "", "width": 4, "height": 4, "model": "m"})


PLAN = Plan(spread(5, 150), 3, {"weights": "a"}, {"network": "mean colour"})


def work(folder: Path, plan: Plan = PLAN, **more: Any) -> Work:
    return Work(folder, plan, MeanColour(), classes=True, **more)


def test_all_pictures_are_drawn_once_and_measured(tmp_path: Path) -> None:
    draw, one = Drawer(), work(tmp_path / "work")
    assert one.blocks.left() == 150
    one.run(draw)
    assert (draw.drawn, one.blocks.left()) == (list(range(3, 153)), 0)
    found = one.collect(keep=True)
    assert (found.statistics.count, found.steps[:2], found.entropies[:2]) == (150, [7, 7], [0.5, 0.5])
    assert found.features is not None
    torch.testing.assert_close(found.features.double().mean(0), found.statistics.mean)
    torch.testing.assert_close(found.features.double().T.cov(), found.statistics.covariance)
    assert found.inception_score is not None
    assert work(tmp_path / "work").collect().features is None


@pytest.mark.parametrize("lasts", [0, BLOCK - 1, BLOCK + 3])
def test_what_was_ended_goes_on_to_the_same_result(tmp_path: Path, lasts: int) -> None:
    whole = work(tmp_path / "whole")
    whole.run(Drawer())
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "ended").run(Drawer(lasts))
    again, draw = work(tmp_path / "ended"), Drawer()
    again.run(draw)
    assert len(draw.drawn) == 150 - lasts // BLOCK * BLOCK
    torch.testing.assert_close(
        again.collect().statistics.covariance, whole.collect().statistics.covariance, rtol=0, atol=0
    )


def test_kept_pictures_are_not_drawn_again_unless_made_otherwise(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "a", pictures=tmp_path / "p").run(Drawer(70))
    assert len(list((tmp_path / "p").glob("*.png"))) == 70
    draw = Drawer()
    one = work(tmp_path / "b", pictures=tmp_path / "p")  # of the first run's work, only the pictures are left
    one.run(draw)
    assert draw.drawn == list(range(73, 153))
    plain = work(tmp_path / "c")
    plain.run(Drawer())
    torch.testing.assert_close(one.collect().statistics.mean, plain.collect().statistics.mean, rtol=0, atol=0)
    assert one.collect().entropies == plain.collect().entropies
    (tmp_path / "p" / "000001.png").write_bytes(b"no picture")
    draw = Drawer()
    work(tmp_path / "d", pictures=tmp_path / "p").run(draw)
    assert draw.drawn == [4]
    other, draw = Plan(PLAN.prompts, PLAN.seed, {"weights": "b"}, PLAN.measuring), Drawer()
    work(tmp_path / "e", other, pictures=tmp_path / "p").run(draw)
    assert len(draw.drawn) == 150


def test_a_folder_serves_one_plan(tmp_path: Path) -> None:
    work(tmp_path)
    for other in (
        Plan(spread(5, 151), 3, PLAN.drawing, PLAN.measuring),
        Plan(PLAN.prompts, 4, PLAN.drawing, PLAN.measuring),
    ):
        assert other.digest != PLAN.digest
        with pytest.raises(UsageError, match="holds the work of another measurement"):
            work(tmp_path, other)


def test_a_damaged_block_is_named(tmp_path: Path) -> None:
    one = work(tmp_path)
    one.run(Drawer())
    (tmp_path / "features-000001.npz").write_bytes(b"PK")
    with pytest.raises(BadInputError, match=r"features-000001\.npz: cannot be read"):
        one.collect()


def test_pieces_are_shared_and_those_of_a_dead_process_taken_over(tmp_path: Path) -> None:
    done: list[int] = []
    first = shares(tmp_path, 4, done.__contains__)
    taken = next(first)
    others = []
    for number in shares(tmp_path, 4, done.__contains__, wait=False):
        others.append(number)
        done.append(number)
    assert (taken, others) == (0, [1, 2, 3])
    first.close()  # ends without having done its piece
    assert list(shares(tmp_path, 4, done.__contains__)) == [0]
    with locked(tmp_path / ".000000.lock"):
        assert list(shares(tmp_path, 4, done.__contains__, wait=False)) == []
    assert not list(tmp_path.glob(".*"))


def test_pictures_of_older_versions_need_not_say_which_encoder_read_their_prompts() -> None:
    wanted = {"weights": "a", "text_weights": "b"}
    assert made_so({"weights": "a", "text_weights": "b", "steps": 3}, wanted)
    assert made_so({"weights": "a"}, wanted)
    for record in ({"weights": "a", "text_weights": "c"}, {"text_weights": "b"}, [], None):
        assert not made_so(record, wanted)


def test_files_are_drawn_while_others_that_share_the_folder_end(tmp_path: Path) -> None:
    wanted: Any = [Wanted(tmp_path / f"{n}.png", 0, n) for n in range(70)]
    locks = tmp_path / ".grn-work"

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Result]:
        shutil.rmtree(locks)  # as one does that has found all that it wants
        yield from Drawer()([0] * len(prompts), seeds)

    assert draw_files(tmp_path, wanted, {}, draw) == 70
    assert not locks.exists()
    locks.mkdir()  # the one that leads is between two pieces
    assert draw_files(tmp_path, wanted, {}, draw, wait=False) == 0
    assert locks.is_dir()
