"""What every setting of the sampler does, and which settings are refused."""

from typing import Any, get_type_hints

import pytest
import torch
from helpers.refinement import ADAPTIVE, Case, case, same, sample
from pydantic import ValidationError

from grn.refine.config import SamplerConfig, SamplerOverrides
from grn.refine.known import Known

FAMILIES = ["class", "text"]

# For each setting: what else is set, and two values that must lead to different pictures (or another number of steps).
OPTIONS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "steps": ({}, 6, 7),
    "adaptive": ({**ADAPTIVE, "steps": 6}, False, True),
    "tmin": ({**ADAPTIVE, "b": 0.0, "k": 0.0}, 6, 7),
    "tmax": ({**ADAPTIVE, "b": 50.0, "k": 0.0}, 13, 14),
    "k": ({**ADAPTIVE, "b": 2.0}, 5.0, 10.0),
    "b": ({**ADAPTIVE, "k": 0.0}, 8.0, 9.0),
    "warmup": (ADAPTIVE, 2, 3),
    "guidance": ({"steps": 6}, 1.0, 3.0),
    "guidance_start": ({"steps": 6, "guidance": 3.0}, 0.0, 0.5),
    "guidance_end": ({"steps": 6, "guidance": 3.0}, 0.5, 1.0),
    "temperature": ({"steps": 6}, 0.5, 1.0),
    "cooling": ({**ADAPTIVE, "cooling_from": 35}, 0.0, 0.025),
    "cooling_from": ({**ADAPTIVE, "cooling": 0.05}, 6, 20),
    "curve": ({"steps": 6}, "identity", "cosine"),
    "curve_factor": ({"steps": 6, "curve": "cosine"}, 0.95, 0.999),
    "ratio_shown": ({"steps": 40}, "scheduled", "kept"),
    "ratio_of": ({"steps": 6, "known": True}, "map", "drawn"),
    "selection": ({"steps": 6}, "random", "confidence"),
    "fill": ({"steps": 6}, "refine", "mask"),
}


def half_given(which: Case) -> Known:
    """A map of zeros whose first half stays."""
    network, _, _, shape = which
    tokens = torch.zeros(*shape, network.config.elements, dtype=torch.int64)
    fixed = torch.arange(tokens.numel()).view(tokens.shape) < tokens.numel() // 2
    return Known(tokens, fixed)


@pytest.mark.parametrize("name", SamplerConfig.model_fields)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_changes_something(family: str, name: str) -> None:
    base, one, other = OPTIONS[name]
    which = case(family, "bit")
    if base.get("known"):
        base = {**base, "known": half_given(which)}
    assert not same(sample(which, **{**base, name: one}), sample(which, **{**base, name: other}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tmin": 30, "tmax": 20}, "tmin 30 is above tmax 20"),
        ({"adaptive": True, "tmin": 5}, "tmin 5 must be above the warm-up of 5 steps"),
        ({"guidance_start": 0.6, "guidance_end": 0.5}, "guidance_start 0.6 is above guidance_end 0.5"),
        ({"steps": 0}, "steps"),
        ({"steps": 10_001}, "steps"),
        ({"tmin": 0}, "tmin"),
        ({"warmup": 50}, "warmup"),
        ({"warmup": -1}, "warmup"),
        ({"k": float("nan")}, "k"),
        ({"b": float("inf")}, "b"),
        ({"guidance": -0.1}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"guidance_start": -0.1}, "guidance_start"),
        ({"guidance_end": 1.1}, "guidance_end"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"curve": "sine"}, "curve"),
        ({"selection": "best"}, "selection"),
        ({"fill": "zeros"}, "fill"),
        ({"ratio_shown": "none"}, "ratio_shown"),
        ({"cooling": 1.5}, "cooling"),
        ({"curve_factor": 0.0}, "curve_factor"),
        ({"ratio_of": "half"}, "ratio_of"),
        ({"tau": 1.0}, "tau"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SamplerConfig(**settings)


def test_settings_at_their_limits_are_taken() -> None:
    SamplerConfig(tmin=20, tmax=20)
    SamplerConfig(adaptive=True, tmin=6)
    SamplerConfig(tmin=5)  # no warm-up in a fixed run
    SamplerConfig(guidance_start=0.5, guidance_end=0.5)


def test_overrides_are_the_settings() -> None:
    """One key a field, of the field's own type or None."""
    hints = get_type_hints(SamplerOverrides)
    fields = {name: field.annotation for name, field in SamplerConfig.model_fields.items()}
    assert hints == {name: kind | None for name, kind in fields.items() if kind is not None}
