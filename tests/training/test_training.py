"""Training on tiny networks: exact resumption, stopping, divergence, every loss and option, checkpoints that survive damage."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from grn.data.code_cache import View
from grn.errors import ConfigError, EnvironmentFaultError, TrainingDivergedError, UsageError
from grn.media import write_image
from grn.networks.text_to_visual import TextToVisual
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import Tokenizer
from grn.training import loop as loops
from grn.training.checkpoint import newest_checkpoint, verify_checkpoint
from grn.training.config import GeneratorRecipe, RatioConfig, load_recipe
from grn.training.generator import GeneratorTask, corrupt
from grn.training.run import parameters, train
from grn.training.run_folder import lock
from grn.training.tokenizer import TokenizerTask

NETWORK = """
[network]
channels = 4
encoder_width = 4
decoder_width = 4
multipliers = [1, 1]
encoder_blocks = 1
decoder_blocks = 1
halves_time = [false]
time_kernel = 1
rounds = 2
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight captioned pictures in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / "pictures" / ("left" if i % 2 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))
    return tmp_path / "pictures"


def _tokenizer_recipe(
    folder: Path, pictures: Path, steps: int = 6, losses: str = "perceptual = 0.0\ngan = 0.0", run: str = ""
) -> Path:
    path = folder / "tokenizer.toml"
    path.write_text(
        f'kind = "tokenizer"\nname = "tiny"\n{NETWORK}\n[data]\nsize = 16\nflip = true\n[[data.sources]]\npath = "{pictures}"\n'
        f"resize = [16, 20]\n[run]\nsteps = {steps}\nbatch_size = 2\nsave_every = 3\nlog_every = 1\nsheet_every = 100\n{run}\n"
        f"[losses]\n{losses}\n[rounds]\n1 = 0.5\nnone = 0.5\n"
    )
    return path


def _generator_recipe(
    folder: Path, pictures: Path, tokenizer: Path, optimizer: str = "adamw", network: str = ""
) -> Path:
    text = folder / "words"
    words = ["left", "right"]
    torch.manual_seed(0)
    StaticWordVectors(StaticWordVectorsConfig(dim=6, rows=2), words, torch.randn(2, 6)).save(text)
    for path in pictures.rglob("*.png"):
        path.with_suffix(".txt").write_text(path.parent.name)
    recipe = folder / "generator.toml"
    recipe.write_text(
        f'kind = "generator"\nname = "tiny-emoji"\ntokenizer = "{tokenizer}"\ntext_encoder = "{text}"\n'
        '[network]\nkind = "text-to-visual"\nchannels = 4\nrounds = 2\nwidth = 16\ndepth = 2\nheads = 2\nmlp_ratio = 1.0\ntext_width = 6\n'
        f'{network}\n[data]\nsize = 16\n[[data.sources]]\npath = "{pictures}"\n'
        "[run]\nsteps = 6\nbatch_size = 4\nsave_every = 3\nlog_every = 1\nsheet_every = 100\n"
        f'[optimizer]\nname = "{optimizer}"\nlr = 1e-3\nwarmup_steps = 2\ndecay_steps = 3\n[sampling]\nsteps = 3\n'
    )
    return recipe


def _run(recipe: Path, folder: Path, *overrides: str, **options: Any) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    train(load_recipe(recipe, overrides), folder, lambda step, row: rows.append(row), **options)
    return rows


def _losses(rows: list[dict[str, float]]) -> list[tuple[float, ...]]:
    untimed = ("samples_per_s", "seconds_left")
    return [tuple(v for n, v in row.items() if n not in untimed) for row in rows]


def _stopping(rows: list[dict[str, float]], after: int) -> Any:
    def report(step: int, row: dict[str, float]) -> None:
        rows.append(row)
        if step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def _stop_and_resume(recipe: Path, folder: Path, after: int, *overrides: str) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    with pytest.raises(loops.Stopped):
        train(load_recipe(recipe, overrides), folder, _stopping(rows, after))
    return rows + _run(recipe, folder, *overrides)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_tokenizer_run_equals_the_uninterrupted_one(tmp_path: Path, pictures: Path, workers: int) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures, losses="perceptual = 0.1\ngan = 0.1\ngan_start = 2")
    setting = f"data.workers={workers}"
    straight = _run(recipe, tmp_path / "a", setting)
    resumed = _stop_and_resume(recipe, tmp_path / "b", 4, setting)
    assert _losses(straight) == _losses(resumed)
    first, second = (load_file(tmp_path / run / "step-00000006" / "weights.safetensors") for run in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_generator_run_equals_the_uninterrupted_one(
    tmp_path: Path, pictures: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    _run(_tokenizer_recipe(tmp_path, pictures, steps=1), tmp_path / "t")
    recipe = _generator_recipe(tmp_path, pictures, tmp_path / "t" / "final", optimizer)
    straight = _run(recipe, tmp_path / "a")
    assert straight[-1]["loss"] < math.log(4) + 0.2
    assert _losses(straight) == _losses(_stop_and_resume(recipe, tmp_path / "b", 2))


def test_turned_words_change_what_is_learnt_and_resume_exactly(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    _run(_tokenizer_recipe(tmp_path, pictures, steps=1), tmp_path / "t")
    recipe = _generator_recipe(tmp_path, pictures, tmp_path / "t" / "final")
    plain = _run(recipe, tmp_path / "a")
    turned = _run(recipe, tmp_path / "b", "words.turned=0.5")
    assert _losses(turned) != _losses(plain)
    assert _losses(turned) == _losses(_stop_and_resume(recipe, tmp_path / "c", 2, "words.turned=0.5"))
    assert _losses(turned) != _losses(_run(recipe, tmp_path / "d", "words.turned=0.5", "words.degrees=10"))


@pytest.mark.parametrize("target", ["ind", "bit", "flip"])
def test_a_generator_trains_on_every_target_and_its_folder_draws(
    tmp_path: Path, pictures: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grn.pipeline import Pipeline

    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    _run(_tokenizer_recipe(tmp_path, pictures, steps=1), tmp_path / "t")
    recipe = _generator_recipe(tmp_path, pictures, tmp_path / "t" / "final", network=f'target = "{target}"')
    _run(recipe, tmp_path / "g", "run.steps=2")
    (result,) = Pipeline.from_pretrained(tmp_path / "g" / "final")(["left"])
    assert result.frames.shape == (1, 16, 16, 3)
    assert result.steps == 3


def test_a_generator_has_its_own_number_of_rounds(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grn.pipeline import Pipeline

    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    _run(_tokenizer_recipe(tmp_path, pictures, steps=1), tmp_path / "t")
    recipe = load_recipe(_generator_recipe(tmp_path, pictures, tmp_path / "t" / "final"), ["network.rounds=3"])
    assert isinstance(recipe, GeneratorRecipe)
    tokenizer = Tokenizer.from_pretrained(recipe.tokenizer)
    assert tokenizer.config.rounds == 2
    task = GeneratorTask(recipe, TextToVisual(recipe.network), tokenizer, StaticWordVectors.load(recipe.text_encoder))
    targets = task.read((0, 0, 3))["targets"]
    pixels = torch.from_numpy(View(16).read(task.source[3])).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert torch.equal(targets, tokenizer.encode(pixels, 3)[0])
    train(recipe, tmp_path / "g", lambda step, row: None)
    (result,) = Pipeline.from_pretrained(tmp_path / "g" / "final")(["left"])
    assert result.frames.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_precision_is_what_the_recipe_says(
    tmp_path: Path, pictures: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    recipe = _tokenizer_recipe(tmp_path, pictures, steps=1)
    _run(recipe, tmp_path / "t")
    if kind == "generator":
        recipe = _generator_recipe(tmp_path, pictures, tmp_path / "t" / "final")
    named = {
        name: _losses(_run(recipe, tmp_path / name, "run.steps=3", f'run.precision="{name}"'))
        for name in ("float32", "bfloat16")
    }
    assert _losses(_run(recipe, tmp_path / "default", "run.steps=3")) == named["float32"]
    assert named["bfloat16"] != named["float32"]
    for low, full in zip(*named.values(), strict=True):
        assert low == pytest.approx(full, rel=0.1)
    weights = load_file(tmp_path / "bfloat16" / "final" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {
        torch.float16
    }  # as ever: the weights themselves are not lowered


def test_a_class_model_trains_from_class_folders(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    _run(_tokenizer_recipe(tmp_path, pictures, steps=1), tmp_path / "t")
    recipe = tmp_path / "classes.toml"
    recipe.write_text(
        f'kind = "generator"\nname = "c"\ntokenizer = "{tmp_path}/t/final"\n[network]\nkind = "class-to-image"\nchannels = 4\nrounds = 2\n'
        "width = 16\ndepth = 2\nheads = 2\nnum_classes = 2\nsize = 4\nbottleneck = 8\ncontext_tokens = 2\ncontext_start = 1\n"
        f'[data]\nsize = 16\nflip = true\n[[data.sources]]\npath = "{pictures}"\n[run]\nsteps = 2\nbatch_size = 4\nlog_every = 1\n'
        "[sampling]\nsteps = 2\n"
    )
    rows = _run(recipe, tmp_path / "g")
    assert rows[0]["loss"] == pytest.approx(math.log(4), abs=0.02)  # the head starts at zero: every class alike
    assert (tmp_path / "g" / "final" / "model.safetensors").exists()
    assert (tmp_path / "g" / "samples" / "00000002.png").exists()


@pytest.mark.parametrize("loss", ["l1 = 0.0", "l2 = 1.0", "perceptual = 0.5", "gan = 0.5"])
def test_every_loss_weight_changes_the_weights(tmp_path: Path, pictures: Path, loss: str) -> None:
    base = {"l1": "1.0", "l2": "0.5", "perceptual": "0.0", "gan": "0.0"}
    changed = base | dict([loss.split(" = ")])
    found = []
    for number, values in enumerate((base, changed)):
        recipe = _tokenizer_recipe(tmp_path, pictures, 1, "\n".join(f"{k} = {v}" for k, v in values.items()))
        _run(recipe, tmp_path / str(number))
        found.append(load_file(tmp_path / str(number) / "final" / "model.safetensors"))
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_frozen_encoder_stays_and_the_decoder_moves(tmp_path: Path, pictures: Path) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures, 1)
    _run(recipe, tmp_path / "a")
    _run(recipe, tmp_path / "b", f'run.init="{tmp_path}/a/final"', "decoder_only=true", "run.ema=0")
    before, after = (load_file(tmp_path / run / "final" / "model.safetensors") for run in "ab")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("decoder", "from_latent")) for name in moved)


def test_a_loss_that_is_not_finite_stops_before_the_update(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures)
    clip = torch.nn.utils.clip_grad_norm_

    def poisoned(parameters: Any, norm: float) -> torch.Tensor:
        poisoned.calls += 1  # type: ignore[attr-defined]
        return torch.tensor(math.nan) if poisoned.calls == 3 else clip(parameters, norm)  # type: ignore[attr-defined]

    poisoned.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", poisoned)
    with pytest.raises(TrainingDivergedError, match="step 2"):
        _run(recipe, tmp_path / "a")
    monkeypatch.undo()
    _run(recipe, tmp_path / "b", "run.steps=2")
    rescued, clean = (load_file(tmp_path / run / "step-00000002" / "weights.safetensors") for run in "ab")
    assert all(torch.equal(rescued[name], clean[name]) for name in clean)


def test_a_damaged_newest_checkpoint_is_passed_over_and_only_damaged_ones_are_refused(
    tmp_path: Path, pictures: Path
) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures)
    _run(recipe, tmp_path / "a")
    newest = tmp_path / "a" / "step-00000006" / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    path, problems = newest_checkpoint(tmp_path / "a")
    assert path is not None
    assert path.name == "step-00000003"
    assert len(problems) == 1
    assert "weights.safetensors" in problems[0]
    (tmp_path / "a" / "step-00000003" / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match="no checkpoint can be resumed"):
        newest_checkpoint(tmp_path / "a")


def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grn.training import checkpoint

    recipe = _tokenizer_recipe(tmp_path, pictures)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    _run(recipe, tmp_path / "a", "run.steps=3")
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(EnvironmentFaultError, match="No space left"):
        _run(recipe, tmp_path / "a")
    assert verify_checkpoint(tmp_path / "a" / "step-00000003") is None
    assert not list((tmp_path / "a").glob("*.tmp-*"))


def test_a_run_folder_has_one_trainer_and_a_dead_owner_is_forgotten(tmp_path: Path) -> None:
    release = lock(tmp_path)
    with pytest.raises(EnvironmentFaultError, match=str(os.getpid())):
        lock(tmp_path)
    release()
    (tmp_path / "lock").write_text(f"{os.uname().nodename} 999999999")
    lock(tmp_path)()
    assert not (tmp_path / "lock").exists()


def test_the_average_follows_the_weights(tmp_path: Path, pictures: Path) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures)
    _run(recipe, tmp_path / "a", "run.steps=1", "run.save_every=1")
    start = load_file(tmp_path / "a" / "step-00000001" / "ema.safetensors")
    now = load_file(tmp_path / "a" / "step-00000001" / "weights.safetensors")
    torch.manual_seed(0)
    from grn.networks.autoencoder import CausalAutoencoder

    initial = CausalAutoencoder(load_recipe(recipe).network).state_dict()  # type: ignore[arg-type]
    name = "decoder.stem.weight"
    decay = 1 / 10  # (1 + step) / (10 + step) at step 0 is below the configured decay
    expected = initial[name] * decay + now[f"model.{name}"] * (1 - decay)
    assert torch.allclose(start[name], expected, atol=1e-6)


def test_the_run_folder_says_what_was_trained(tmp_path: Path, pictures: Path) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures, 2)
    _run(recipe, tmp_path / "a", "optimizer.lr=0.5e-3")
    resolved = load_recipe(tmp_path / "a" / "run.toml")
    assert resolved.optimizer.lr == 0.5e-3
    assert resolved.name == "tiny"
    rows = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert parameters(resolved) == sum(
        v.numel() for v in load_file(tmp_path / "a" / "final" / "model.safetensors").values()
    )


def test_corruption_keeps_the_drawn_share_and_fills_with_every_class() -> None:
    rng = np.random.default_rng(0)
    targets = torch.zeros(1, 64, 64, 16, dtype=torch.int64)
    shares, ratios = [], []
    for _ in range(20):
        state, ratio = corrupt(targets, 4, RatioConfig(), rng)
        shares.append(float((state == 0).float().mean()))
        ratios.append(float(ratio))
        assert set(state.unique().tolist()) == {0, 1, 2, 3}
    # Of the elements that are not kept, a quarter is drawn right by chance.
    assert np.allclose(shares, [l + (1 - l) / 4 for l in ratios], atol=0.01)  # noqa: E741
    assert np.std(ratios) > 0.05


MISTAKES = [
    ("run.stepz=3", "unknown key 'run.stepz'; did you mean 'steps'?"),
    ("run.steps=0", "run.steps"),
    ("network.multipliers=[1,3]", "cannot fold"),
    ("data.size=10", "not a multiple of the network's stride"),
    ("rounds.x=1", "neither a number from 1 to 16"),
    ("losses.gan=-1", "losses.gan"),
    ("optimizer.lr=nan", "optimizer.lr"),
    ('kind="both"', "kind"),
]


@pytest.mark.parametrize(("override", "message"), MISTAKES)
def test_mistakes_in_recipes_are_named(tmp_path: Path, pictures: Path, override: str, message: str) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures)
    load_recipe(recipe)
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_malformed_override_and_a_missing_recipe_are_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"section\.key=value"):
        load_recipe(_tokenizer_recipe(tmp_path, pictures), ["steps"])
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")


def test_a_batch_in_parts_trains_as_a_whole_one(tmp_path: Path, pictures: Path) -> None:
    recipe = _tokenizer_recipe(tmp_path, pictures, 4, "perceptual = 0.0\ngan = 0.1\ngan_start = 1")
    whole = _run(recipe, tmp_path / "a", "run.batch_size=4")
    calls: list[int] = []
    step = TokenizerTask.step

    def counted(self: TokenizerTask, batch: Any, number: int) -> Any:
        calls.append(len(batch["crop"]))
        return step(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenizerTask, "step", counted)
        parts = _run(recipe, tmp_path / "b", "run.batch_size=4", "run.accumulate=2")
    assert calls == [2] * 8
    for row, other in zip(whole, parts, strict=True):
        assert row.keys() == other.keys()
        same = row.keys() - {"psnr", "samples_per_s", "seconds_left"}  # the mean of PSNRs is not the PSNR of means
        assert [row[name] for name in same] == pytest.approx([other[name] for name in same], rel=1e-4, abs=1e-5)
    first, second = (load_file(tmp_path / run / "step-00000004" / "weights.safetensors") for run in "ab")
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=2e-5)
    with pytest.raises(ConfigError, match=r"run\.batch_size 4 is not a multiple .* run\.accumulate 3"):
        _run(recipe, tmp_path / "c", "run.batch_size=4", "run.accumulate=3")
