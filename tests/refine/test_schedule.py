"""Progress, the cosine curve, entropy, and the number of steps that follows from it."""

import itertools
import json
import math
from pathlib import Path
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from grn.hub.registry import ENTRIES
from grn.refine.config import SamplerConfig
from grn.refine.schedule import (
    PACE,
    adaptive_steps,
    calibrate,
    cooled_temperature,
    cosine_ratio,
    normalised_entropy,
    progress,
)

REFERENCE = Path(__file__).parents[1] / "assets" / "reference" / "schedules.safetensors"


def test_a_fixed_run_goes_in_equal_steps() -> None:
    assert [progress(t, 4, None) for t in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert progress(22, 50, None) == 0.44


@pytest.mark.parametrize(
    ("total", "step", "expected"),
    [(20, 0, 0), (20, 3, 0.06), (20, 5, 0.1), (20, 6, 0.16), (20, 10, 0.4), (20, 20, 1), (10, 7, 0.46), (95, 50, 0.55)],
)
def test_an_adaptive_run_warms_up_then_goes_straight_to_the_end(total: int, step: int, expected: float) -> None:
    assert progress(step, total, 5) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("warmup", [0, 1, 5, 17, PACE - 1])
def test_fifty_steps_are_the_fixed_schedule_to_the_last_bit(warmup: int) -> None:
    assert [progress(t, PACE, warmup) for t in range(PACE + 1)] == [progress(t, PACE, None) for t in range(PACE + 1)]


@given(st.integers(0, PACE - 1), st.integers(1, 300))
def test_progress_rises_from_0_to_1(warmup: int, more: int) -> None:
    total = warmup + more
    values = [progress(t, total, warmup) for t in range(total + 1)]
    assert values[0] == 0
    assert values[-1] == 1
    assert all(low < high for low, high in itertools.pairwise(values))


def test_cosine_values() -> None:
    """Four steps select 0.999 * (1 - cos) of 30, 60 and 90 degrees, and of 90 again."""
    expected = [0, 0.999 * (1 - math.sqrt(3) / 2), 0.4995, 0.999, 0.999]
    assert [cosine_ratio(t / 4, 4, 0.999) for t in range(5)] == pytest.approx(expected, abs=1e-12)
    published = [0.999 * (1 - math.cos(math.pi / 2 * min(1, (i + 1) / 49))) for i in range(50)]
    assert [cosine_ratio((i + 1) / 50, 50, 0.999) for i in range(50)] == pytest.approx(published, abs=1e-12)
    assert [cosine_ratio(0.0, 1, 0.999), cosine_ratio(1.0, 1, 0.999)] == [0, 0.999]


@pytest.mark.parametrize(
    ("entropy", "steps"),
    [(0.5, 30), (0.504, 30), (0.506, 31), (0.0, 10), (0.1, 10), (0.9, 50), (1.0, 50), (0.495, 30), (0.486, 29)],
)
def test_steps_are_clipped_and_rounded(entropy: float, steps: int) -> None:
    found = adaptive_steps(entropy, 100.0, -20.0, (10, 50))
    assert found == steps
    assert isinstance(found, int)


def test_steps_without_entropys_say() -> None:
    assert {adaptive_steps(h / 10, 0.0, 50.0, (10, 50)) for h in range(11)} == {50}
    assert adaptive_steps(0.2, -40.0, 60.0, (10, 50)) == 50
    assert adaptive_steps(0.5, -40.0, 60.0, (10, 50)) == 40
    assert adaptive_steps(1.0, 1e308, 1e308, (10, 50)) == 50


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=12),
    st.sampled_from([-300.0, -40.0, 0.0, 25.0, 600.0]),
    st.integers(10, 20),
    st.integers(20, 60),
    st.floats(0, 1),
)
def test_calibration_comes_as_near_to_the_mean_as_can_be(
    entropies: list[float], k: float, tmin: int, tmax: int, place: float
) -> None:
    wanted = tmin + place * (tmax - tmin)

    def miss(b: float) -> float:
        return abs(mean(adaptive_steps(h, k, b, (tmin, tmax)) for h in entropies) - wanted)

    # Between these jumps the mean stands still, so on either side of each is all that can be had.
    jumps = {n + 0.5 - k * h for n in range(tmin, tmax) for h in entropies}
    best = min((miss(jump + side) for jump in jumps for side in (-1e-6, 1e-6)), default=miss(0.0))
    assert miss(calibrate(entropies, k, (tmin, tmax), wanted)) <= best + 1e-9


def test_calibration_over_many_prompts_reaches_the_mean() -> None:
    entropies = (0.64 + 0.23 * torch.rand(500, generator=torch.Generator().manual_seed(0))).tolist()
    b = calibrate(entropies, 600.0, (10, 50), 40.0)
    assert mean(adaptive_steps(h, 600.0, b, (10, 50)) for h in entropies) == pytest.approx(40, abs=1 / 500)


@pytest.mark.parametrize(("entropies", "wanted"), [([], 40.0), ([0.5], 9.0), ([0.5], 51.0)])
def test_calibrating_for_what_cannot_be_is_a_mistake(entropies: list[float], wanted: float) -> None:
    with pytest.raises(AssertionError):
        calibrate(entropies, 600.0, (10, 50), wanted)


@pytest.mark.parametrize("classes", [2, 4, 16])
def test_entropy_is_0_for_certainty_and_1_for_none(classes: int) -> None:
    certain = torch.zeros(2, 1, 3, 3, 5, classes)
    certain[..., 1] = 1e4
    assert normalised_entropy(certain).tolist() == [0, 0]
    assert normalised_entropy(torch.full((2, 1, 3, 3, 5, classes), 7.0)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("classes", [2, 8])
def test_entropy_is_each_samples_own_mean(classes: int) -> None:
    logits = torch.randn(3, 1, 2, 2, 4, classes, generator=torch.Generator().manual_seed(0)) * 3
    for sample, found in zip(logits, normalised_entropy(logits).tolist(), strict=True):
        bits = []
        for element in sample.reshape(-1, classes).tolist():
            weights = [math.exp(x) for x in element]
            shares = [w / sum(weights) for w in weights]
            bits.append(-sum(p * math.log2(p) for p in shares) / math.log2(classes))
        assert found == pytest.approx(mean(bits), abs=1e-5)
    assert torch.equal(normalised_entropy(logits.half()), normalised_entropy(logits.half().float()))


def test_the_published_schedules() -> None:
    """Steps exactly; ratios and temperatures, after and at every step, to 1e-6."""
    with safe_open(REFERENCE, "pt") as file:
        published = json.loads(file.metadata()["config"])["c2i"]
    reference = {name: values.tolist() for name, values in load_file(REFERENCE).items()}
    config = SamplerConfig(**ENTRIES["grn-b"].sampling)
    # Theirs counts k * H + b from the end of the warm-up.
    assert (config.k, config.b) == (published["k"], published["b"] + published["warmup"])
    assert (config.tmin, config.tmax, config.warmup) == (published["tmin"], published["steps"], published["warmup"])
    totals = [adaptive_steps(h, config.k, config.b, (config.tmin, config.tmax)) for h in reference["c2i.entropy"]]
    assert totals == reference["c2i.steps"]
    for number, total in enumerate(totals):
        ratios = [progress(step + 1, total, config.warmup) for step in range(total)]
        assert ratios == pytest.approx(reference[f"c2i.ratio_{number}"], abs=1e-6)
        cooled = cooled_temperature(config.temperature, total, config.cooling, config.cooling_from)
        temperatures = [config.temperature if step < config.warmup else cooled for step in range(total)]
        assert temperatures == pytest.approx(reference[f"c2i.temperature_{number}"], abs=1e-6)
    for total in (20, 50):
        ratios = [cosine_ratio((step + 1) / total, total, 0.95) for step in range(total)]
        assert ratios == pytest.approx(reference[f"text.ratio_{total}"], abs=1e-6)
