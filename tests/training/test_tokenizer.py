"""The losses of tokenizers, of pictures and clips; rounds; joint tokenizers from image tokenizers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import changed, make_pictures, run, tokenizer_recipe, video_recipe
from safetensors.torch import load_file

from grn.errors import ModelMismatchError
from grn.networks.autoencoder import CausalAutoencoder
from grn.tokenizer import Tokenizer
from grn.training.task import Slot
from grn.training.tokenizer import TokenizerBatch, TokenizerTask, quantize_each


def task(values: dict[str, Any]) -> TokenizerTask:
    recipe = changed(video_recipe("pictures", "clips"), values)
    return TokenizerTask(recipe, CausalAutoencoder(recipe.network))


@pytest.mark.parametrize(("loss", "value"), [("l1", 0.0), ("l2", 1.0), ("perceptual", 0.5), ("gan", 0.5)])
def test_every_loss_weight_changes_the_weights(place: Path, loss: str, value: float) -> None:
    base = changed(tokenizer_recipe("pictures"), {"losses.l2": 0.5, "run.steps": 1})
    for name, recipe in {"a": base, "b": changed(base, {f"losses.{loss}": value})}.items():
        run(recipe, Path(name))
    found = [load_file(Path(name) / "final" / "model.safetensors") for name in "ab"]
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_frozen_encoder_stays_and_the_decoder_moves(place: Path) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": 1})
    run(recipe, Path("a"))
    run(changed(recipe, {"run.init": "a/final", "decoder_only": True, "run.ema": 0.0}), Path("b"))
    before, after = (load_file(Path(name) / "final" / "model.safetensors") for name in "ab")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("decoder", "from_latent")) for name in moved)


def test_the_discriminator_learns_from_its_own_loss_alone(clips_place: Path) -> None:
    made = task({"losses.perceptual": 0.0})
    example = made.read(Slot(0, 0, made.source.kinds[0][0]))
    verdict, judged = made.losses(made.collate([example]), 0)
    verdict.value.backward()
    judge = made.modules["discriminator"]
    assert all(p.grad is None for p in judge.parameters())
    assert any(p.grad is not None for p in made.modules["model"].parameters())
    made.modules["model"].zero_grad()
    judged.value.backward()
    assert all(p.grad is not None for p in judge.parameters())
    assert all(p.grad is None for p in made.modules["model"].parameters())


def test_rounds_are_picked_for_each_picture_in_their_shares(place: Path) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"rounds": {"2": 0.25, "none": 0.75}})
    made = TokenizerTask(recipe, CausalAutoencoder(recipe.network))
    picks = [made.read(Slot(step, number, number)).rounds for step in range(100) for number in range(4)]
    assert picks.count(2) == pytest.approx(100, abs=30)
    assert set(picks) == {2, None}
    assert any(len(set(picks[i : i + 4])) == 2 for i in range(0, 400, 4))  # not one number for a whole batch


def test_each_sample_is_quantized_to_its_own_rounds() -> None:
    features = torch.rand(3, 2, 1, 2, 2) * 2 - 1
    found = quantize_each(features, (1, None, 3))
    assert set(found[0].flatten().tolist()) <= {-0.5, 0.5}
    assert torch.equal(found[1], features[1])
    assert ((found[2] * 8).round() % 2 == 1).all()


def test_batches_hold_pictures_or_clips_by_weight(clips_place: Path) -> None:
    make_pictures(clips_place / "four", 4)
    made = task({"data.sources": [{"path": "four", "resize": (16, 20)}, {"path": "clips", "clips": True, "weight": 2}]})
    lengths = []
    for step in range(60):
        numbers = made.order(2 * step, 2)
        batch = {made.read(Slot(step, place, number)).crop.shape for place, number in enumerate(numbers)}
        (shape,) = batch
        assert shape in {(3, 1, 16, 16), (3, 5, 16, 16)}
        lengths.append(shape[1])
    assert lengths.count(5) == pytest.approx(40, abs=1)  # as many clips as pictures, at twice the weight


def test_losses_are_of_every_frame(clips_place: Path) -> None:
    """Spoiling one frame of a clip spoils each loss by its share."""
    made = task({"losses.gan": 0.0})
    crop = made.read(Slot(0, 0, made.source.kinds[1][0])).crop[None]

    class Spoilt(torch.nn.Module):
        def __init__(self, frames: list[int]) -> None:
            super().__init__()
            self.frames = frames

        def forward(self, pixels: torch.Tensor, rounds: object) -> torch.Tensor:
            spoilt = torch.zeros_like(pixels)
            spoilt[:, :, self.frames] = 0.5
            return pixels + spoilt

    figures = []
    for frames in ([], [2], [2, 4]):
        made.calls["model"] = Spoilt(frames)
        (loss,) = made.losses(TokenizerBatch(crop, (None,), 1), 0)
        figures.append((float(loss.figures["l1"]), float(loss.figures["perceptual"])))
    assert figures[0] == (0, 0)
    assert figures[1][0] == pytest.approx(0.5 / 5, rel=1e-4)
    assert figures[2][0] == pytest.approx(2 * 0.5 / 5, rel=1e-4)
    assert 0 < figures[1][1] < figures[2][1]


def test_motion_is_a_loss_of_clips_alone(clips_place: Path) -> None:
    made = task({"losses.motion": 1.0, "losses.gan": 0.0})
    for kind, clips in zip(made.source.kinds, (False, True), strict=True):
        (loss,) = made.losses(made.collate([made.read(Slot(0, 0, kind[0]))]), 0)
        assert ("motion" in loss.figures) == clips


@pytest.mark.parametrize("wanted", ["on", "off"])
def test_losses_are_compiled_where_the_network_is(
    clips_place: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    named: list[str] = []

    def watched(call: Any, **_: object) -> Any:
        named.append(call.__name__)
        return call  # compiling takes long

    monkeypatch.setattr(torch, "compile", watched)
    made = task({"run.compile": wanted, "losses.motion": 1.0})
    loss, *_ = made.losses(made.collate(made.made_up(2)), 0)
    assert bool(loss.value.isfinite())
    for name in ("encode", "decode", "distances", "motion_loss"):
        assert (name in named) == (wanted == "on")


def test_a_joint_tokenizer_trains_and_its_folder_tokenizes(clips_place: Path) -> None:
    rows = run(video_recipe("pictures", "clips"), Path("a"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert Path("a/samples/00000006.png").exists()
    tokenizer = Tokenizer.from_pretrained(Path("a/final"))
    assert tokenizer.encode(torch.zeros(1, 3, 5, 16, 16)).shape == (1, 3, 4, 4, 4)


def test_a_joint_tokenizer_starts_from_an_image_tokenizer(clips_place: Path) -> None:
    plain = {"network.folds_time": False, "run.ema": 0.0}
    run(changed(tokenizer_recipe("pictures"), plain), Path("image"))
    start = {"run.init": "image/final"}
    joint_recipe = video_recipe("pictures", "clips")
    settled = {"run.steps": 1, "optimizer.lr": 1e-12, "run.ema": 0.0}
    run(changed(joint_recipe, start | settled), Path("a"))
    image, joint = (Tokenizer.from_pretrained(Path(name) / "final") for name in ("image", "a"))
    pixels = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    assert torch.allclose(image.features(pixels), joint.features(pixels), atol=1e-3)
    still = pixels.expand(-1, -1, 5, -1, -1)
    assert torch.allclose(
        joint.reconstruct_pixels(still, 2)[:, :, 4], image.reconstruct_pixels(pixels, 2)[:, :, 0], atol=1e-2
    )
    for values, message in (
        ({"network.folds_time": True}, r"has halves_time \[False\] and the recipe \[True\]; .*folds_time = false"),
        ({"network.channels": 3}, r"has channels 4 and the recipe 3; change network\.channels"),
    ):
        with pytest.raises(ModelMismatchError, match=message):
            run(changed(joint_recipe, start | values), Path("b"))


def test_fps_changes_what_is_learnt(clips_place: Path) -> None:
    def crop(values: dict[str, Any]) -> torch.Tensor:
        made = task(values)
        return made.read(Slot(0, 0, made.source.kinds[1][0])).crop

    assert not torch.equal(crop({}), crop({"data.fps": 5.0}))
