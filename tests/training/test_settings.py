"""Every setting of a recipe that training reads changes what comes of a run, or is refused by its name."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.training import (
    NETWORK,
    changed,
    class_recipe,
    figures,
    make_tokenizer,
    make_words,
    run,
    text_recipe,
    tokenizer_recipe,
    video_recipe,
)
from pydantic import BaseModel

from grn.errors import GrnError
from grn.training import generator
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe

SHORT = {"run.steps": 2, "run.batch_size": 2, "run.save_every": 1, "run.sheet_every": 1, "run.keep": 2}
BASES: dict[str, Any] = {
    "tokenizer": changed(
        tokenizer_recipe("pictures"), SHORT | {"losses.gan": 0.1, "losses.l2": 0.1, "losses.perceptual": 0.1}
    ),
    "video": changed(video_recipe("pictures", "clips"), SHORT | {"data.fps": 10.0}),
    "class": changed(class_recipe("pictures", "tokenizer"), SHORT),
    "text": changed(
        text_recipe("pictures", "tokenizer", "words"),
        SHORT | {"optimizer.decay_steps": 2, "words.turned": 1.0, "words.degrees": 30.0},
    ),
    "clips": changed(
        text_recipe("clips", "joint", "words"),
        SHORT | {"data.sources": [{"path": "clips", "clips": True}], "data.frames": 5, "data.fps": 10.0},
    ),
}
SOURCE = {"path": "pictures", "resize": (16, 20)}

# The base of a run, the setting, and another value of it.
SETTINGS: list[tuple[str, str, Any]] = [
    ("tokenizer", "name", "other"),
    ("tokenizer", "data.sources", [{"path": "pictures/left", "resize": (16, 20)}]),
    ("tokenizer", "data.sources.path", [SOURCE | {"path": "pictures/left"}]),
    ("tokenizer", "data.sources.weight", [SOURCE, {"path": "pictures/left", "resize": (16, 20), "weight": 9.0}]),
    ("tokenizer", "data.sources.keep", [SOURCE | {"keep": {"style": ("flat",)}}]),
    ("tokenizer", "data.sources.resize", [SOURCE | {"resize": (18, 18)}]),
    ("clips", "data.sources.clips", [{"path": "clips"}]),
    ("class", "data.sources.codes", [{"path": "pictures", "codes": True}]),
    ("text", "data.sources.captions", [{"path": "pictures", "captions": {"long": 1.0}}]),
    ("text", "data.sources.tag", [{"path": "pictures", "tag": "right "}]),
    ("tokenizer", "data.most_bad", 1.0),
    ("tokenizer", "data.size", 8),
    ("text", "data.sizes", [[24, 16]]),
    ("clips", "data.frames", 3),
    ("video", "data.fps", 5.0),
    ("class", "data.flip", False),
    ("tokenizer", "data.workers", 1),
    ("tokenizer", "data.cache", 0.0),
    ("tokenizer", "run.steps", 1),
    ("tokenizer", "run.batch_size", 4),
    ("tokenizer", "run.accumulate", 2),
    ("class", "run.tokens_per_batch", 16),
    ("tokenizer", "run.tokens_per_batch", 16),
    ("tokenizer", "run.seed", 1),
    ("tokenizer", "run.ema", 0.0),
    ("tokenizer", "run.save_every", 2),
    ("tokenizer", "run.keep", 3),
    ("tokenizer", "run.log_every", 2),
    ("tokenizer", "run.sheet_every", 2),
    ("class", "run.distance_every", 1),
    ("class", "run.distance_pictures", 3),
    ("class", "run.trackers", ("tensorboard",)),
    ("tokenizer", "run.bad_steps", 1),
    ("tokenizer", "run.parallel", "fsdp"),
    ("class", "run.recompute", True),
    ("tokenizer", "run.precision", "bfloat16"),
    ("class", "run.compile", "on"),
    ("tokenizer", "run.init", Path("tokenizer")),
    ("tokenizer", "optimizer.name", "muon"),
    ("class", "optimizer.name", "muon"),
    ("tokenizer", "optimizer.lr", 1e-2),
    ("class", "optimizer.matrix_lr", 0.5),
    ("tokenizer", "optimizer.betas", (0.1, 0.2)),
    ("tokenizer", "optimizer.weight_decay", 0.5),
    ("tokenizer", "optimizer.warmup_steps", 5),
    ("text", "optimizer.final_lr", 0.7),
    ("text", "optimizer.decay_steps", 3),
    ("tokenizer", "optimizer.clip", 1e-6),
    ("tokenizer", "losses.l1", 0.5),
    ("tokenizer", "losses.l2", 0.7),
    ("tokenizer", "losses.perceptual", 0.0),
    ("tokenizer", "losses.lpips", Path("lpips.pt")),
    ("video", "losses.motion", 1.0),
    ("tokenizer", "losses.gan", 0.7),
    ("tokenizer", "losses.gan_start", 1),
    ("tokenizer", "losses.gan_lr", 1e-2),
    ("tokenizer", "losses.gan_network", "patchgan"),
    ("tokenizer", "losses.gan_betas", (0.1, 0.2)),
    ("tokenizer", "losses.gan_weight_decay", 0.9),
    ("tokenizer", "rounds", {"2": 1.0}),
    ("tokenizer", "decoder_only", True),
    ("class", "name", "other"),
    ("class", "tokenizer", "elsewhere"),
    ("text", "text_encoder", Path("others")),
    ("text", "text_device", "cpu"),
    ("class", "text_device", "cpu"),
    ("class", "ratio.drawn", "uniform"),
    ("class", "ratio.mean", 0.8),
    ("class", "ratio.deviation", 2.0),
    ("class", "ratio.shown", "kept"),
    ("class", "fill", "mask"),
    ("class", "drop_condition", 0.9),
    ("text", "words.turned", 0.3),
    ("text", "words.degrees", 80.0),
    ("clips", "cut", 1.0),
    ("clips", "stills", True),
    ("clips", "clip_sampling", {"temperature": 0.5}),
    ("text", "sheet_prompts", ("left", "left")),
    ("class", "sheet_prompts", ("left",)),
]
NEEDED: dict[str, dict[str, Any]] = {
    "run.keep": {"run.steps": 3},
    "stills": {"data.sources": [{"path": "clips", "clips": True}, {"path": "pictures"}]},
    "clip_sampling": {"data.sources": [{"path": "clips", "clips": True}, {"path": "pictures"}], "stills": True},
    "data.most_bad": {"data.sources": [{"path": "some.jsonl", "resize": (16, 20)}]},
    "run.distance_pictures": {"run.distance_every": 2},
    "run.bad_steps": {"run.steps": 3, "optimizer.lr": 1e30, "optimizer.clip": 1e30},
}
"""What else has to be set for a setting to matter."""
ELSEWHERE = ("network", "sampling", "kind")
"""Sections that the networks and the sampler read; their own tests show it."""


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a recipe."""
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        models = [one for one in inner if issubclass(one, BaseModel)]
        if not prefix and name in ELSEWHERE:
            continue
        if not models or prefix + name == "data.sources":
            yield prefix + name
        for one in models:
            yield from keys(one, f"{prefix}{name}.")


def test_no_setting_is_left_out() -> None:
    known = {*keys(TokenizerRecipe), *keys(GeneratorRecipe)}
    assert known == {key for _, key, _ in SETTINGS}


@pytest.fixture(scope="module")
def traces() -> dict[str, dict[str, Any]]:
    """Of the bases, made once."""
    return {}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What no file shows: how many workers read, what is computed twice, and what is compiled (which takes long, and so is not done here)."""
    found: list[object] = []
    loader = torch.utils.data.DataLoader.__init__

    def watched(self: Any, *arguments: Any, **settings: Any) -> None:
        found.append(settings["num_workers"])
        loader(self, *arguments, **settings)

    def compiled(module: object, **_: object) -> object:
        found.append("compiled")
        return module

    def recomputed(network: object, compiled: bool) -> None:
        found.append("recomputed")

    monkeypatch.setattr(generator, "recompute_blocks", recomputed)
    monkeypatch.setattr(torch.utils.data.DataLoader, "__init__", watched)
    monkeypatch.setattr(torch, "compile", compiled)
    return found


@pytest.mark.parametrize(("base", "key", "value"), SETTINGS, ids=[f"{base} {key}" for base, key, _ in SETTINGS])
def test_a_setting_changes_a_run_or_is_refused(
    clips_place: Path, traces: dict[str, dict[str, Any]], seen: list[object], base: str, key: str, value: Any
) -> None:
    if base not in ("text", "clips"):
        for path in clips_place.glob("pictures/*/*.txt"):
            path.unlink()  # class folders are classes where nothing has a caption
    make_tokenizer(clips_place / "elsewhere", NETWORK.model_copy(update={"encoder_width": 8}))
    make_words(clips_place / "others", seed=1)
    (clips_place / "some.jsonl").write_text('{"file_name": "pictures/left/1.png"}\n{"file_name": "none.png"}\n')
    recipe = changed(BASES[base], NEEDED.get(key, {}))
    if base not in traces or key in NEEDED:
        before = trace(recipe, Path("before"), seen)
        traces.setdefault(base, before)
        seen.clear()
    else:
        before = traces[base]
    setting = "data.sources" if key.startswith("data.sources.") else key
    try:
        other = changed(recipe, {setting: value})
    except ValueError as error:
        refusal = str(error)  # before anything has run
    else:
        assert trace(other, Path("after"), seen) != before
        return
    assert key.rpartition(".")[2] in refusal


def trace(recipe: TokenizerRecipe | GeneratorRecipe, folder: Path, seen: list[object]) -> dict[str, Any]:
    """Everything that a run leaves behind, but for times; or how it was refused."""
    cache = folder.with_name(f"{folder.name}-cache")
    with pytest.MonkeyPatch.context() as own:
        own.setenv("GRN_CACHE", str(cache))
        try:
            rows = figures(run(recipe, folder))
        except GrnError as error:
            return {"refused": str(error).replace(f"{folder}/", "")}
    left = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("log.jsonl", "run.toml", "manifest.json")
    }
    kept = sorted({path.parts[1] for path in cache.rglob("*")})
    return {"rows": rows, "left": left, "kept": kept, "seen": list(seen)}
