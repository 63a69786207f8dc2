"""The six questions: the judge finds, names and colours what stands in a picture, and says what is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compose import Renderer, Scenes
from helpers.drawings import THINGS
from scene_judge import Judge, Seen, bounds, colour_of, cut, foreground
from scenes import COLOURS, Composer, Placed, Scene, Thing
from six_questions import KINDS, ask, composed, generated, is_right, judge_all, main, reconstructed, report, shares
from sprites import Sprite
from torch import Tensor

from grn.features.efficientnet import OfflineFeatures
from grn.pipeline import Pipeline
from grn.tokenizer import Tokenizer

SIDE = 96


def shape(number: int) -> np.ndarray:
    """One of many figures, uint8 [SIDE, SIDE, 4]: bars of its own number, width and slope in two colours on a disc, a square or a triangle."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    outlines = (x**2 + y**2 < 0.8, np.maximum(abs(x), abs(y)) < 0.8, (abs(x) < 0.45 * (y + 1)) & (y < 0.8))
    slope = (number // 3 % 4) * np.pi / 4
    bars = np.sin((x * np.cos(slope) + y * np.sin(slope)) * (4 + 3 * (number // 12))) > 0
    first, second = np.array([200, 40 * (number % 5), 30]), np.array([40, 90, 60 + 30 * (number % 6)])
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[..., :3] = np.where(bars[..., None], first, second)
    picture[..., 3] = 255 * outlines[number % 3]
    return picture


@pytest.fixture(scope="module")
def sprites() -> tuple[list[Sprite], np.ndarray]:
    made = [Sprite(f"3d-{n}", name, "3d", "objects", "train", (f"a {name}",)) for n, name in enumerate(THINGS)]
    return made, np.stack([shape(n) for n in range(len(THINGS))])


@pytest.fixture(scope="module")
def judge(sprites: tuple[list[Sprite], np.ndarray]) -> Judge:
    return Judge([one.name for one in sprites[0]], sprites[1], OfflineFeatures(SIDE))


def drawn(sprites: np.ndarray, *objects: Placed, ground: tuple[int, int, int] | None = None) -> np.ndarray:
    scene = Scene("", "", objects, (), ground=ground)
    pictures = Renderer(torch.from_numpy(sprites))(Scenes.of([scene]))
    return ((pictures[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def test_what_stands_apart_is_cut_apart(sprites: tuple[list[Sprite], np.ndarray]) -> None:
    picture = drawn(sprites[1], Placed(0, -0.5, 0, 0.4), Placed(1, 0.5, 0, 0.4), ground=(90, 150, 230))
    mask = foreground(picture)
    box = bounds(mask, (0, 0, SIDE, SIDE))
    assert box is not None
    ways = cut(mask, box).ways
    left, right = next(way for way in ways if len(way) == 2)
    assert left.box[2] < SIDE / 2 < right.box[0]
    assert bounds(mask, (0, 0, 4, 4)) is None


def test_objects_are_named_where_they_are(judge: Judge, sprites: tuple[list[Sprite], np.ndarray]) -> None:
    objects = [Placed(2, -0.5, -0.5, 0.45), Placed(7, 0.5, -0.5, 0.45), Placed(2, -0.5, 0.5, 0.45)]
    for ground in (None, (250, 180, 205)):
        (seen,) = judge.look([drawn(sprites[1], *objects, ground=ground)], coloured=False)
        names = sorted(one.name for one in seen)
        assert names == sorted([THINGS[2], THINGS[2], THINGS[7]])
        (other,) = (one for one in seen if one.name == THINGS[7])
        assert other.centre[0] > SIDE / 2 > other.centre[1]
        assert all(one.colour is None for one in seen)


def test_a_whole_thing_is_not_taken_apart(judge: Judge, sprites: tuple[list[Sprite], np.ndarray]) -> None:
    for number in range(len(THINGS)):
        (seen,) = judge.look([drawn(sprites[1], Placed(number, 0, 0, 0.9))], coloured=False)
        assert [one.name for one in seen] == [THINGS[number]]


def test_colours_are_read_and_names_are_not_misled(judge: Judge, sprites: tuple[list[Sprite], np.ndarray]) -> None:
    right = 0
    for colour, hue in COLOURS.items():
        picture = drawn(sprites[1], Placed(1, 0, 0, 0.8, hue=hue))
        (seen,) = judge.look([picture], coloured=True)
        assert [one.colour for one in seen] == [colour]
        right += seen[0].name == THINGS[1]
    assert right >= len(COLOURS) - 1


def test_an_empty_picture_shows_nothing(judge: Judge) -> None:
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    assert judge.look([picture], coloured=False) == [[]]
    assert colour_of(picture, foreground(picture), (0, 0, 9, 9)) is None


class Same:
    """A network that sees no difference."""

    name, dim = "same", 4

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)


def test_look_alikes_are_not_asked_for(sprites: tuple[list[Sprite], np.ndarray], judge: Judge) -> None:
    names = [one.name for one in sprites[0]]
    assert Judge(names, sprites[1], Same()).distinct(0.9) == set()
    assert judge.distinct(1.1) == set(names)
    twins = Judge(["one", "other", "third"], sprites[1][[0, 0, 5]], OfflineFeatures(SIDE))
    assert twins.distinct(0.999) == {"third"}


CAT, DOG = Thing("cat"), Thing("dog")


def seen(name: str, x: int = 0, y: int = 0, colour: str | None = None) -> Seen:
    return Seen((x, y, x + 10, y + 10), name, 1.0, colour)


@pytest.mark.parametrize(
    ("things", "relation", "found", "right"),
    [
        ((CAT,), None, [seen("cat")], True),
        ((CAT,), None, [seen("cat"), seen("hat")], True),
        ((CAT,), None, [seen("dog")], False),
        ((CAT,), None, [], False),
        ((CAT, DOG), None, [seen("dog"), seen("cat")], True),
        ((CAT, DOG), None, [seen("cat"), seen("cat")], False),
        ((Thing("cat", 2),), None, [seen("cat"), seen("cat")], True),
        ((Thing("cat", 2),), None, [seen("cat")] * 3, False),
        ((Thing("cat", 2),), None, [seen("cat")], False),
        ((CAT, DOG), "beside", [seen("dog", 50), seen("cat", 10)], True),
        ((CAT, DOG), "beside", [seen("dog", 10), seen("cat", 50)], False),
        ((CAT, DOG), "beside", [seen("dog", 50, 90), seen("cat", 10)], False),
        ((CAT, DOG), "stacked", [seen("dog", 0, 50), seen("cat")], True),
        ((CAT, DOG), "stacked", [seen("dog"), seen("cat", 0, 50)], False),
        ((Thing("cat", colour="red"),), None, [seen("cat", colour="red")], True),
        ((Thing("cat", colour="red"),), None, [seen("cat", colour="blue")], False),
    ],
)
def test_right_is_what_was_asked_and_nothing_less(
    things: tuple[Thing, ...], relation: str | None, found: list[Seen], right: bool
) -> None:
    assert is_right(Scene("", "", (), things, relation), found) is right


def test_the_judge_is_right_about_composed_pictures(judge: Judge, sprites: tuple[list[Sprite], np.ndarray]) -> None:
    """All six questions end to end; turned captions, as a model that mixes things up would draw, are found wrong."""
    made, pixels = sprites
    asked = ask(made, {one.name for one in made}, 10, seed=0)
    assert set(asked) == set(KINDS)
    assert all(len(scenes) == 10 for scenes in asked.values())
    renderer = Renderer(torch.from_numpy(pixels))
    verdicts = judge_all(judge, asked, lambda scenes: composed(renderer, scenes, 0))
    found = shares(verdicts)
    assert found["overall"] >= 0.85
    assert found["overall"] == pytest.approx(np.mean([found[question] for question in KINDS]))
    position = {"position": asked["position"]}

    def mirrored(scenes: list[Scene]) -> list[np.ndarray]:
        return composed(
            renderer, [replace(s, objects=tuple(replace(o, x=-o.x, y=-o.y) for o in s.objects)) for s in scenes], 0
        )

    assert shares(judge_all(judge, position, mirrored))["overall"] == 0
    lines = report(verdicts, "judge")
    assert len([line for line in lines if line.startswith("|")]) == 9
    assert len([line for line in lines if ": saw " in line]) == sum(not one.right for one in verdicts)


def test_prompts_are_the_same_by_seed_and_never_trained_on(sprites: tuple[list[Sprite], np.ndarray]) -> None:
    made = sprites[0]
    names = {one.name for one in made}
    one, again, other = (ask(made, names, 3, seed) for seed in (0, 0, 1))
    captions = [[scene.caption for scenes in asked.values() for scene in scenes] for asked in (one, again, other)]
    assert captions[0] == captions[1] != captions[2]
    trained = Composer(made, styled=0.0)
    assert not any(trained.wanted(scene) for scene in one["two objects"] + one["counting"] + one["position"])
    assert all(thing.count <= 4 for scene in one["counting"] for thing in scene.things)


def test_pictures_go_through_a_tokenizer(sprites: tuple[list[Sprite], np.ndarray]) -> None:
    picture = drawn(sprites[1], Placed(0, 0, 0, 0.9))
    tokenizer = Tokenizer.from_pretrained("emoji-tokenizer")
    differences = []
    for rounds in (1, 4):
        (kept,) = reconstructed(tokenizer, rounds, [picture])
        assert kept.shape == picture.shape
        differences.append(np.abs(kept.astype(int) - picture).mean())
    assert 40 > differences[0] > differences[1] > 0


def test_a_model_draws_the_captions(words: Path) -> None:
    scenes = [Scene(caption, "single", (), (CAT,)) for caption in ("a red apple", "a cat")]
    pictures = generated(Pipeline.from_pretrained(words), scenes, seed=0, batch_size=2)
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 2
    assert not np.array_equal(*pictures)


def test_how_a_model_draws_may_be_said(
    sprites: tuple[list[Sprite], np.ndarray], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []
    draw = Pipeline.__call__

    def noting(self: Pipeline, prompts: Any, **options: Any) -> Any:
        asked.append(options)
        return draw(self, prompts, **options)

    monkeypatch.setattr(Pipeline, "__call__", noting)
    monkeypatch.setattr("six_questions.read_sprites", lambda path: sprites)
    monkeypatch.setattr(Judge, "distinct", lambda self, limit: set(self.names))
    arguments = ["--num", "2", "--questions", "colours", "position", "--steps", "1", "--guidance", "1"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shares"].keys() == {"colours", "position", "overall"}
    assert [(options["steps"], options["guidance"]) for options in asked] == [(1, 1.0)] * 2
    assert all("temperature" not in options for options in asked)


def test_misuse_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--sprites", str(tmp_path / "none.tar")]) == 1
    assert "not a tar of sprites" in capsys.readouterr().err
    for arguments, said in (
        (["--through", "x"], "--through: is of --check"),
        (["--check", "--rounds", "2"], "--rounds: is of --through"),
        (["--check", "--guidance-end", "0.5"], "--guidance-end: is of models"),
        (["--questions", "taste"], "invalid choice: 'taste'"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().err
