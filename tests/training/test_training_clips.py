"""Training on clips beside pictures: batches of either kind, losses of every frame, joint tokenizers from image tokenizers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from grn.errors import ConfigError, ModelMismatchError
from grn.media import VideoWriter, write_image
from grn.networks.text_to_visual import TextToVisual
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import Tokenizer
from grn.training.config import GeneratorRecipe, TokenizerRecipe, load_recipe
from grn.training.generator import GeneratorTask
from grn.training.losses import motion_loss
from grn.training.run import train
from grn.training.tokenizer import TokenizerTask

NETWORK = (
    "[network]\nchannels = 4\nencoder_width = 4\ndecoder_width = 4\nmultipliers = [1, 1]\nencoder_blocks = 1\n"
    "decoder_blocks = 1\nrounds = 2\n"
)
IMAGE = "halves_time = [false]\ntime_kernel = 1\nfolds_time = false\n"
VIDEO = "halves_time = [true]\ntime_kernel = 3\nfolds_time = false\n"
BOTH = (
    '[data]\nsize = 16\nframes = 5\n[[data.sources]]\npath = "pictures"\nresize = [16, 20]\n'
    '[[data.sources]]\npath = "clips"\nclips = true\nweight = 2.0\n'
)
RUN = "[run]\nsteps = 6\nbatch_size = 2\nsave_every = 3\nlog_every = 1\nsheet_every = 100\n"
LOSSES = "[losses]\nperceptual = 0.1\ngan = 0.1\n[rounds]\n2 = 0.7\nnone = 0.3\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with four pictures and four clips of 7 frames, with captions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for folder in ("pictures", "clips"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        write_image(tmp_path / "pictures" / f"{i}.png", rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))
        base = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        with VideoWriter(tmp_path / "clips" / f"{i}.{'webp' if i % 2 else 'gif'}", 24, 20, 10) as video:
            for t in range(7):
                video.write(np.roll(base, 2 * t, axis=1))
        for folder in ("pictures", "clips"):
            (tmp_path / folder / f"{i}.txt").write_text("left")
    (tmp_path / "image.toml").write_text(
        f'kind = "tokenizer"\nname = "image"\n{NETWORK}{IMAGE}[data]\nsize = 16\n[[data.sources]]\npath = "pictures"\n'
        f"{RUN}[losses]\nperceptual = 0.0\ngan = 0.0\n"
    )
    (tmp_path / "video.toml").write_text(f'kind = "tokenizer"\nname = "joint"\n{NETWORK}{VIDEO}{BOTH}{RUN}{LOSSES}')
    return tmp_path


def run(recipe: str, folder: str, *overrides: str) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    train(load_recipe(Path(recipe), overrides), Path(folder), lambda step, row: rows.append(row))
    return rows


def task(*overrides: str) -> TokenizerTask:
    from grn.networks.autoencoder import CausalAutoencoder

    recipe = load_recipe(Path("video.toml"), overrides)
    assert isinstance(recipe, TokenizerRecipe)
    return TokenizerTask(recipe, CausalAutoencoder(recipe.network))


def test_batches_hold_pictures_or_clips_by_weight() -> None:
    made = task()
    lengths = []
    for step in range(60):
        numbers = made.order(2 * step, 2)
        batch = {made.read((step, place, number))["crop"].shape for place, number in enumerate(numbers)}
        (shape,) = batch
        assert shape in {(3, 1, 16, 16), (3, 5, 16, 16)}
        lengths.append(shape[1])
    assert lengths.count(5) == pytest.approx(40, abs=1)  # as many clips as pictures, at twice the weight


def test_losses_are_of_every_frame() -> None:
    """Spoiling one frame of a clip spoils each loss by its share."""
    made = task("losses.gan=0.0")
    number = next(n for n in made.source.kinds[1])
    crop = made.read((0, 0, number))["crop"][None]
    batch = {"crop": crop, "pick": torch.tensor([1])}
    made.encode = lambda pixels: pixels
    spoilt = torch.zeros_like(crop, dtype=torch.float32)
    figures = []
    for frames in ([], [2], [2, 4]):
        spoilt[:, :, frames] = 0.5
        made.decode = lambda pixels: pixels + spoilt
        ((_, _loss, row),) = made.step(batch, 0)
        figures.append((row["l1"], row["perceptual"]))
    assert figures[0] == (0, 0)
    assert figures[1][0] == pytest.approx(0.5 / 5, rel=1e-4)
    assert figures[2][0] == pytest.approx(2 * 0.5 / 5, rel=1e-4)
    assert 0 < figures[1][1] < figures[2][1]


def still(*shape: int) -> torch.Tensor:
    return torch.zeros(1, 3, *shape)


def test_motion_counts_whichever_way_it_goes() -> None:
    clip = still(3, 64, 64)
    clip[:, :, 1, :, :32] = 1
    missed = float(motion_loss(still(3, 64, 64), clip))
    # Half of the patches change by 1, and so the frame by a half; that they move for sure counts a quarter, before it is squared.
    assert missed == pytest.approx((0.5 + 0.5**2) * (1 + 0.25**2), rel=0.1)
    assert motion_loss(-clip, clip) == 0
    # As much motion, but elsewhere: wrong in twice as many patches, right in the frame.
    assert float(motion_loss(clip.flip(4), clip)) == pytest.approx(1 + 0.25**2, rel=0.1)


def test_motion_of_unknown_place_comes_out_right_in_the_mean() -> None:
    """Of three patches one moves, and nobody knows which: least where each moves a third as much, not where none does."""
    candidates = []
    for amount in (0.0, 0.2, 1 / 3, 0.5):
        guess = still(2, 64, 64)
        guess[:, :, 1] = amount
        losses = []
        for third in range(3):
            moves = still(2, 64, 64)
            moves[:, :, 1, :, 21 * third : 21 * (third + 1)] = 1
            losses.append(float(motion_loss(guess, moves)))
        candidates.append(sum(losses))
    assert min(candidates) == candidates[2]


def test_what_flickers_everywhere_is_not_what_moves_somewhere() -> None:
    moves, flickers = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1, :16, :16] = 1
    flickers[:, :, 1] = 1 / 16  # the same amount
    missed = float(motion_loss(still(2, 64, 64), moves))
    assert float(motion_loss(flickers, moves)) > missed
    # In the same patch, it is better than nothing.
    moves, flickers = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1, 8:12, 8:12] = 1
    flickers[:, :, 1, 6:14, 6:14] = 0.25
    assert 0 < float(motion_loss(flickers, moves)) < float(motion_loss(still(2, 64, 64), moves))


def test_a_pattern_that_comes_and_goes_is_not_motion() -> None:
    moves, pattern = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1] = 0.4
    pattern[:, :, 1] = torch.tensor([0.0, 0.2, 0.0, -0.2]).repeat(16)
    half, right = float(motion_loss(moves / 2, moves)), float(motion_loss(moves, moves))
    assert float(motion_loss(moves / 2 + pattern, moves)) > half > right == 0
    assert float(motion_loss(moves + pattern, moves)) > 0.01


def test_blur_is_no_rougher_than_what_it_blurs() -> None:
    edge, blurred = still(2, 64, 64), still(2, 64, 64)
    edge[..., 28:] = 1
    blurred[..., 26:] = 0.5
    blurred[..., 30:] = 1
    assert motion_loss(blurred, edge) == pytest.approx(0, abs=1e-6)


def test_motion_counts_up_to_every_edge() -> None:
    for turns in range(4):
        moves = still(2, 64, 64)
        moves[:, :, 1, :8] = 1
        moves = moves.rot90(turns, (3, 4))
        assert float(motion_loss(torch.zeros_like(moves), moves)) > 0.1


def test_motion_is_a_loss_of_clips_alone() -> None:
    made = task("losses.motion=1.0", "losses.gan=0.0")
    for kind, clips in zip(made.source.kinds, (False, True), strict=True):
        example = made.read((0, 0, kind[0]))
        ((_, _, row),) = made.step({"crop": example["crop"][None], "pick": torch.tensor([example["pick"]])}, 0)
        assert ("motion" in row) == clips


def test_a_joint_tokenizer_trains_and_its_folder_tokenizes(place: Path) -> None:
    rows = run("video.toml", "a")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert (place / "a" / "samples" / "00000006.png").exists()
    tokenizer = Tokenizer.from_pretrained(place / "a" / "final")
    assert tokenizer.encode(torch.zeros(1, 3, 5, 16, 16)).shape == (1, 3, 4, 4, 4)


def test_a_joint_tokenizer_starts_from_an_image_tokenizer(place: Path) -> None:
    run("image.toml", "image", "run.ema=0")
    start = 'run.init="image/final"'
    run("video.toml", "joint", start, "run.steps=1", "optimizer.lr=1e-12", "run.ema=0")
    image, joint = (Tokenizer.from_pretrained(place / name / "final") for name in ("image", "joint"))
    pixels = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    assert torch.allclose(image.features(pixels), joint.features(pixels), atol=1e-3)
    still = pixels.expand(-1, -1, 5, -1, -1)
    assert torch.allclose(
        joint.reconstruct_pixels(still, 2)[:, :, 4], image.reconstruct_pixels(pixels, 2)[:, :, 0], atol=1e-2
    )
    for change, message in {
        "network.folds_time=true": r"has halves_time \[False\] and the recipe \[True\]; .*with network.folds_time = false",
        "network.channels=3": "has channels 4 and the recipe 3; change network.channels",
    }.items():
        with pytest.raises(ModelMismatchError, match=message):
            run("video.toml", "b", start, change)


def test_a_resumed_run_on_both_equals_the_uninterrupted_one(place: Path) -> None:
    straight = run("video.toml", "a")
    run("video.toml", "b", "run.steps=3")
    resumed = run("video.toml", "b")
    untimed = ("samples_per_s", "seconds_left")
    for one, other in zip(straight[3:], resumed, strict=True):
        assert {n: v for n, v in one.items() if n not in untimed} == {
            n: v for n, v in other.items() if n not in untimed
        }
    first, second = (load_file(place / name / "step-00000006" / "weights.safetensors") for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.frames=4", "data.frames 4 is not 1 + a multiple of the network's time stride 2"),
        ("data.frames=1", "clips of more than one frame and data.sources with clips = true go together"),
        ('data.sources=[{path="pictures"}]', "frames 5: clips of more than one frame"),
        ("data.fps=0", "data.fps"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(Path("video.toml"), [override])
    assert message in str(caught.value)


def test_fps_without_clips_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are none; leave it out"):
        load_recipe(Path("image.toml"), ["data.fps=8"])


def test_fps_changes_what_is_learnt() -> None:
    def crop(*overrides: str) -> Any:
        made = task(*overrides)
        return made.read((0, 0, made.source.kinds[1][0]))["crop"]

    assert not torch.equal(crop(), crop("data.fps=5"))


# Generators


@pytest.fixture
def generator(place: Path) -> Path:
    """A recipe for clips, with the joint tokenizer and an encoder of one word that it needs."""
    from grn.networks.autoencoder import CausalAutoencoder
    from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
    from grn.tokenizer import save_tokenizer

    recipe = load_recipe(place / "video.toml")
    assert isinstance(recipe, TokenizerRecipe)
    torch.manual_seed(0)
    save_tokenizer(place / "tokenizer", CausalAutoencoder(recipe.network), "t")
    StaticWordVectors(StaticWordVectorsConfig(dim=6, rows=1), ["left"], torch.randn(1, 6)).save(place / "words")
    path = place / "clips.toml"
    path.write_text(
        'kind = "generator"\nname = "clips"\ntokenizer = "tokenizer"\ntext_encoder = "words"\n'
        '[network]\nkind = "text-to-visual"\nchannels = 4\nrounds = 2\nwidth = 16\ndepth = 2\nheads = 2\nmlp_ratio = 1.0\n'
        'text_width = 6\n[data]\nsize = 16\nframes = 5\nfps = 8\n[[data.sources]]\npath = "clips"\nclips = true\n'
        f"{RUN}[optimizer]\nlr = 1e-3\n[sampling]\nsteps = 3\n"
    )
    return path


MIXED = 'data.sources=[{path="clips", clips=true}, {path="pictures"}]'


def test_a_generator_trains_on_clips_and_its_folder_draws_them(generator: Path, place: Path) -> None:
    from grn.pipeline import Pipeline

    rows = run("clips.toml", "g")
    assert rows[-1]["loss"] < 1.6
    assert (place / "g" / "samples" / "00000006.png").exists()
    pipeline = Pipeline.from_pretrained(place / "g" / "final")
    assert (pipeline.frames, pipeline.fps, pipeline.size) == (5, 8.0, 16)
    (result,) = pipeline(["left"])
    assert result.frames.shape == (5, 16, 16, 3)


@pytest.mark.parametrize("change", [MIXED, "data.sizes=[[16, 16], [24, 16], [16, 24]]"])
def test_maps_of_different_shapes_train_in_one_batch(generator: Path, place: Path, change: str) -> None:
    write_image(place / "pictures" / "0.png", np.zeros((40, 20, 3), np.uint8))
    if change != MIXED:
        with VideoWriter(place / "clips" / "0.gif", 20, 40, 10) as video:
            for t in range(5):
                video.write(np.full((40, 20, 3), 40 * t, np.uint8))
    straight = run("clips.toml", "a", change, "run.batch_size=4")
    run("clips.toml", "b", change, "run.batch_size=4", "run.steps=3")
    resumed = run("clips.toml", "b", change, "run.batch_size=4")
    assert [row["loss"] for row in straight[3:]] == [row["loss"] for row in resumed]


def test_a_packed_step_is_the_mean_of_its_elements(generator: Path) -> None:
    """The loss of a batch of pictures and clips is that of each alone, weighted by its elements; so are the gradients."""
    from grn.data.packing import collate
    from grn.networks.text_to_visual import TextToVisual
    from grn.text.word_vectors import StaticWordVectors
    from grn.training.config import GeneratorRecipe
    from grn.training.generator import GeneratorTask

    recipe = load_recipe(generator, [MIXED])
    assert isinstance(recipe, GeneratorRecipe)
    torch.manual_seed(0)
    network = TextToVisual(recipe.network)  # type: ignore[arg-type]
    torch.nn.init.normal_(network.head.weight, std=0.5)
    made = GeneratorTask(recipe, network, Tokenizer.from_pretrained("tokenizer"), StaticWordVectors.load(Path("words")))
    examples = [made.read((0, place, number)) for place, number in enumerate((0, 5, 2, 7))]
    assert {tuple(example["state"].shape[:3]) for example in examples} == {(3, 4, 4), (1, 4, 4)}
    ((_, together, _),) = made.step(collate(examples), 0)
    together.backward()
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    total = sum(example["state"].numel() for example in examples)
    mean = 0.0
    for example in examples:
        ((_, loss, _),) = made.step(collate([example]), 0)
        (loss * (example["state"].numel() / total)).backward()
        mean += float(loss.detach()) * example["state"].numel() / total
    assert float(together.detach()) == pytest.approx(mean, rel=1e-5)
    for one, other in zip(gradients, [p.grad for p in network.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("data.frames=4", ModelMismatchError, "data.frames 4 is not 1 + a multiple of the tokenizer's time stride 2"),
        ("data.sizes=[[16, 17]]", ModelMismatchError, "data.sizes 17 is not a multiple of"),
        (
            'data={size=16, frames=5, sources=[{path="clips", clips=true}]}',
            ConfigError,
            "data.fps: a generator of clips",
        ),
    ],
)
def test_generators_of_clips_name_mistakes(generator: Path, override: str, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        run("clips.toml", "x", override)
    assert message in str(caught.value)


def test_sizes_are_for_text_models() -> None:
    with pytest.raises(ConfigError, match="a tokenizer's crops are squares"):
        load_recipe(Path("image.toml"), ["data.sizes=[[16, 16]]"])


def test_some_steps_see_the_beginnings_of_clips(place: Path) -> None:
    run("video.toml", "t", "run.steps=1")
    StaticWordVectors(StaticWordVectorsConfig(dim=6, rows=1), ["left"], torch.ones(1, 6)).save(place / "words")
    (place / "words.toml").write_text(
        'kind = "generator"\nname = "g"\ntokenizer = "t/final"\ntext_encoder = "words"\n[sampling]\nsteps = 2\n'
        '[network]\nkind = "text-to-visual"\nchannels = 4\nrounds = 2\nwidth = 8\ndepth = 1\nheads = 1\ntext_width = 6\n'
        f'[data]\nsize = 16\nframes = 7\nfps = 10.0\n[[data.sources]]\npath = "clips"\nclips = true\n{RUN}'
    )
    recipe = load_recipe(Path("words.toml"), ["cut=0.5"])
    assert isinstance(recipe, GeneratorRecipe)
    made = GeneratorTask(
        recipe,
        TextToVisual(recipe.network),
        Tokenizer.from_pretrained("t/final"),
        StaticWordVectors.load(Path("words")),
    )
    lengths = []
    for step in range(200):
        shapes = {made.read((step, i, i))["targets"].shape for i in range(2)}
        assert len(shapes) == 1
        lengths.append(shapes.pop()[0])
    assert lengths.count(4) == pytest.approx(100, abs=20)
    assert min(lengths.count(length) for length in (1, 2, 3)) > 20
    assert torch.equal(
        made.read((lengths.index(2), 0, 0))["targets"], torch.from_numpy(made._map(0)[0, :2].astype(np.int64))
    )
    assert _losses(run("words.toml", "a", "cut=0.5")) != _losses(run("words.toml", "b"))
    still = Path("words.toml").read_text().replace("frames = 7\nfps = 10.0\n", "").replace("clips = true\n", "")
    (place / "still.toml").write_text(still)
    with pytest.raises(ConfigError, match="cut: there are no clips to cut"):
        load_recipe(Path("still.toml"), ["cut=0.5"])


def _losses(rows: list[dict[str, float]]) -> list[float]:
    return [row["loss"] for row in rows]
