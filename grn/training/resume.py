"""What of a recipe may change between two parts of a run, and what would make it another run."""

from collections.abc import Iterator, Mapping
from typing import Any

FIXED = {
    "kind": "another kind of model is another run",
    "network": "it shapes the weights",
    "optimizer.name": "the optimizer's moments are of one kind",
    "decoder_only": "the optimizer's moments are of the weights that are trained",
    "run.seed": "it decided the initial weights and the order of the samples so far",
    "run.batch_size": "the place in the data is counted in batches",
    "run.init": "the run has already started from there",
}
"""Keys, or sections, that a run keeps, and why."""
_SWITCHES = {
    "run.ema": "an average cannot begin or end in the middle of a run",
    "losses.gan": "a discriminator cannot come or go in the middle of a run",
}
"""Numbers that may change, but not from or to 0."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Find every dotted key whose value differs between two resolved recipes: (before, after); None where it is not there."""
    old, new = dict(leaves(before)), dict(leaves(after))
    keys = dict.fromkeys([*old, *new])
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def refused(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Say in words, for each change that a run cannot take, why."""
    said = []
    for key, (before, after) in found.items():
        why = next((reason for fixed, reason in FIXED.items() if key == fixed or key.startswith(f"{fixed}.")), None)
        if key in _SWITCHES and not (before and after):
            why = _SWITCHES[key]
        if why is not None:
            said.append(f"{key} was {before!r:.80} and is now {after!r:.80}: {why}")
    return said


def described(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Describe the changes in one line."""
    return ", ".join(f"{key} {before!r:.80} -> {after!r:.80}" for key, (before, after) in found.items())


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List every value of a resolved recipe by its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
