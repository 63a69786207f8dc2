"""Resident training: banks of crops, and the loop that stops and goes on."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from banks import Bank, Dice, cut, decode, divide, read_bank
from helpers.drawings import encoded, pictures_tar
from resident_loop import Length, Run, share_of_rate

from grn.errors import BadInputError
from grn.training.config import OptimizerConfig, RunConfig

CPU = torch.device("cpu")


def dice(step: int = 0) -> Dice:
    return Dice.of(0, step, CPU)


def test_each_seed_and_step_has_its_own_randomness() -> None:
    drawn = {(seed, step): Dice.of(seed, step, CPU) for seed in (0, 1, 2**32) for step in (0, 1)}
    assert len({float(torch.rand((), generator=one.device)) for one in drawn.values()}) == 6
    assert len({one.chance() for one in drawn.values()}) == 6
    assert dice(3).chance() == dice(3).chance()


# Banks


def test_a_file_becomes_the_centre_square_on_white() -> None:
    picture = np.zeros((20, 40, 4), np.uint8)
    picture[:, 10:30] = (0, 0, 255, 255)
    picture[:10, 10:30, 3] = 0
    found = decode(encoded(picture), 20, 1)
    assert found.shape == (1, 20, 20, 3)
    assert found[0, 2, 10].tolist() == [255, 255, 255]
    assert found[0, 17, 10].tolist() == [0, 0, 255]


def test_a_short_clip_stays_at_its_last_frame() -> None:
    clip = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 100, 200)])
    assert decode(encoded(clip), 16, 5)[:, 0, 0, 0].tolist() == [0, 100, 200, 200, 200]
    assert decode(encoded(clip), 16, 2)[:, 0, 0, 0].tolist() == [0, 100]


def test_banks_are_the_same_by_any_number_of_processes(tmp_path: Path) -> None:
    path = pictures_tar(tmp_path / "some.tar", 5)
    one, two = (read_bank(path, 32, 1, processes) for processes in (1, 2))
    assert one.shape == (5, 1, 32, 32, 3)
    assert torch.equal(one, two)
    assert torch.equal(read_bank(path, 32, 1, 1, limit=2), one[:2])


def test_an_empty_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="found none"):
        read_bank(pictures_tar(tmp_path / "none.tar", 0), 32, 1, 1)


def test_crops_are_pieces_of_the_samples() -> None:
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    samples = torch.zeros((2, 9, 24, 24, 3), dtype=torch.uint8)
    for n in range(2):
        for t in range(9):
            samples[n, t] = torch.stack([rows, columns, torch.full_like(rows, 10 * n + t)], -1)
    bank = Bank(samples, (24, 24), 1.0)
    crops = ((cut(bank, 400, 8, 5, dice()) + 1) * 127.5).round()
    assert crops.shape == (400, 3, 5, 8, 8)
    assert (crops[:, 0].diff(dim=2) == 1).all()
    assert (crops[:, 1].diff(dim=3) == 1).all()
    assert (crops[:, 2].diff(dim=1) == 1).all()
    assert {int(value) for value in crops[:, 0, 0, 0, 0]} > {0, 16} - {-1}
    assert {int(value) for value in crops[:, 2, 0, 0, 0]} == {*range(5), *range(10, 15)}


def test_a_smaller_scale_shows_more_of_a_sample() -> None:
    samples = torch.randint(0, 256, (1, 1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = cut(Bank(samples, (16, 16), 1.0), 1, 16, 1, dice())
    pixels = samples[0, :, :, :, :].permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(whole[:, :, 0], F.interpolate(pixels, (16, 16), mode="bilinear", antialias=True), atol=1e-5)


def test_counts_are_divided_by_share() -> None:
    assert divide(10, [1, 1], dice()) == [5, 5]
    parts = torch.tensor([divide(5, [0.5, 0.3, 0.2], dice(step)) for step in range(400)], dtype=torch.float)
    assert (parts.sum(1) == 5).all()
    assert torch.allclose(parts.mean(0), torch.tensor([2.5, 1.5, 1.0]), atol=0.1)


# The loop


def test_rates_and_lengths() -> None:
    config = OptimizerConfig(lr=0.5, warmup_steps=4, decay_steps=50, final_lr=0.1)
    assert [share_of_rate(config, 100, step, step / 100) for step in (0, 3, 50)] == [0.2, 0.8, 1.0]
    assert share_of_rate(config, 100, 75, 0.75) == pytest.approx(0.55)
    assert share_of_rate(config, 100, 999, 1.0) == pytest.approx(0.1)
    assert Length(10).done(5, 1e9) == 0.5
    assert Length(10, minutes=2).done(5, 30) == 0.25


def counting_run(folder: Path) -> tuple[Run, list[float]]:
    """A run whose model is one number that goes up by what the dice say."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    config = RunConfig(steps=10, batch_size=1, ema=0.5, log_every=2)
    return Run(folder, torch.nn.ModuleDict({"model": model}), {"model": optimizer}, config), []


def go(run: Run, steps: int, seen: list[float], stop_at: int | None = None) -> bool:
    def step(done: float) -> dict[str, torch.Tensor]:
        value = run.dice(CPU).chance()
        seen.append(value)
        loss = (run.modules["model"].weight - value).square().sum()
        run.optimizers["model"].zero_grad()
        loss.backward()
        run.optimizers["model"].step()
        if run.step == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return {"loss": loss.detach()}

    return run.train(Length(steps), lambda number, done: 0.1, step, save_minutes=60)


def test_a_run_that_is_stopped_goes_on_as_if_it_were_not(tmp_path: Path) -> None:
    whole, seen = counting_run(tmp_path / "whole")
    assert go(whole, 9, seen)
    first, seen_first = counting_run(tmp_path / "parts")
    assert not go(first, 9, seen_first, stop_at=4)
    second, seen_second = counting_run(tmp_path / "parts")
    assert second.resume()
    assert second.step == 5
    assert go(second, 9, seen_second)
    assert seen_first + seen_second == seen
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name])
    assert torch.equal(whole.modules["model"].weight, second.modules["model"].weight)
    assert second.seconds > first.seconds > 0


def test_rates_follow_their_course_where_they_have_one(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"model": torch.nn.Linear(1, 1, bias=False), "discriminator": torch.nn.Linear(1, 1)})
    course = torch.optim.SGD([{"params": model["model"].parameters(), "initial_lr": 2.0}], lr=2.0)
    steady = torch.optim.SGD(model["discriminator"].parameters(), lr=2.0)
    config = RunConfig(steps=2, batch_size=1, log_every=2)
    run = Run(tmp_path, model, {"model": course, "discriminator": steady}, config)
    rates = []

    def step(done: float) -> dict[str, torch.Tensor]:
        rates.append([course.param_groups[0]["lr"], steady.param_groups[0]["lr"]])
        return {"loss": torch.zeros(())}

    run.train(Length(2), lambda number, done: 1 - done, step, save_minutes=60)
    assert rates == [[2.0, 2.0], [1.0, 2.0]]


def test_the_average_follows_and_is_lent(tmp_path: Path) -> None:
    run, seen = counting_run(tmp_path)
    go(run, 6, seen)
    own, lent = run.modules["model"].weight.item(), []
    run.with_average(lambda model: lent.append(model.weight.item()))
    assert lent == [run.average["weight"].item()]
    assert 0 < lent[0] < own or 0 > lent[0] > own
    assert run.modules["model"].weight.item() == own


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    run, _ = counting_run(tmp_path)
    with pytest.raises(FloatingPointError, match="step 2"):
        run.train(Length(9), lambda number, done: 0.1, lambda done: {"loss": torch.tensor(math.nan)}, 60)
