"""How pictures are drawn: the fields of a model's sampling settings as options. What is not given is the model's own."""

from __future__ import annotations

from dataclasses import dataclass

from grn_cli.options.fields import option


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What every way of drawing has."""

    PANEL = "Sampling (the model's own where not given)"

    guidance: float | None = option("Scale of classifier-free guidance; 1 is none.", "X")
    guidance_start: float | None = option("Selection ratio from which guidance counts.", "0..1", autocompletion=None)
    temperature: float | None = option("Below 1: safer and plainer.", "X")
    selection: str | None = option("Which tokens a step keeps (ablation).", "random|confidence")
    fill: str | None = option("What the other tokens show (ablation).", "refine|mask")


@dataclass(frozen=True, kw_only=True)
class Sampling(Drawing):
    """With how many steps, too."""

    PANEL = "Sampling (the model's own where not given)"

    steps: int | None = option("Refinement steps.", "N", min=1)
    adaptive: bool | None = option("Choose the steps by each picture's complexity.", None, "--adaptive/--fixed")
    tmin: int | None = option("Fewest steps, with --adaptive.", "N", min=1)
    tmax: int | None = option("Most steps, with --adaptive.", "N", min=1)


@dataclass(frozen=True, kw_only=True)
class Finer:
    """The rest, for measurements."""

    PANEL = "Finer sampling settings (the model's own where not given)"

    k: float | None = option("With --adaptive: steps for each unit of entropy (equation 9).", "X")
    b: float | None = option("With --adaptive: steps at an entropy of 0 (equation 9).", "X")
    warmup: int | None = option("With --adaptive: steps before the entropy is measured.", "N", min=0)
    guidance_end: float | None = option("Selection ratio up to which guidance counts.", "0..1", autocompletion=None)
    cooling: float | None = option("With --adaptive: temperature's loss by step saved.", "0..1", autocompletion=None)
    cooling_from: int | None = option("With --adaptive: steps from which there is no such loss.", "N", min=0)
    curve: str | None = option("From progress to the selection ratio.", "identity|cosine")
    curve_factor: float | None = option("Selection ratio at the end of the cosine.", "0..1", autocompletion=None)
    ratio_shown: str | None = option("What the network is told.", "scheduled|kept")
    ratio_of: str | None = option("What that is a share of.", "map|drawn")


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Values to try: FIRST:LAST:STEP, or some with commas."""

    PANEL = "What to try: FIRST:LAST:STEP, or values with commas (the model's own where not given)"

    steps: str | None = option("Refinement steps.", "N,...")
    guidance: str | None = option("Scale of classifier-free guidance; 1 is none.", "X,...")
    guidance_start: str | None = option("Selection ratio from which guidance counts.", "X,...")
    guidance_end: str | None = option("Selection ratio up to which guidance counts.", "X,...")
    temperature: str | None = option("Sampling temperature.", "X,...")
    k: str | None = option("Complexity-aware: steps for each unit of entropy.", "X,...")
    b: str | None = option("Complexity-aware: steps at an entropy of 0.", "X,...")
    tmin: str | None = option("Complexity-aware: fewest steps.", "N,...")
    tmax: str | None = option("Complexity-aware: most steps.", "N,...")
    selection: str | None = option("Which tokens a step keeps.", "random,confidence", autocompletion=None)
    fill: str | None = option("What the other tokens show.", "refine,mask", autocompletion=None)
