"""Scenes of the emoji recipe: what stands where, what the captions say, and what is held out; and the pictures made of them."""

import collections
import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from compose import Renderer, Scenes, compose, recolour
from helpers.drawings import SIDE, sprites
from scene_judge import GROUND
from scenes import COLOURS, GROUNDS, NUMBERS, Composer, Scene, held_out, is_thing, plural

from grn.errors import BadInputError

KINDS = (
    *("single", "two", "beside", "stacked", "count", "corner", "size", "colour"),
    *("two colours", "described", "three", "four"),
)


@pytest.fixture
def composer() -> Composer:
    return Composer(sprites()[0], styled=0.3)


def made(composer: Composer, kind: str, count: int = 60) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [composer.scene(rng, kind) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_captions_name_what_is_there(composer: Composer, kind: str) -> None:
    for scene in made(composer, kind):
        words = scene.caption.replace(",", "").split()
        names = collections.Counter(composer.sprites[one.sprite].name for one in scene.objects)
        assert {thing.name: thing.count for thing in scene.things} == dict(names)
        for thing in scene.things:
            assert (thing.name if thing.count == 1 else plural(thing.name)) in words
            assert thing.colour is None or thing.colour in words
        assert all(abs(one.x) <= 1 and abs(one.y) <= 1 and 0 < one.side <= 1 for one in scene.objects)


def test_who_is_left_and_who_is_above(composer: Composer) -> None:
    for kind, first, second in (
        ("beside", ("left",), ("right",)),
        ("stacked", ("above", "over", "top"), ("below", "under", "beneath")),
    ):
        for scene in made(composer, kind):
            one, other = scene.objects
            assert one.x < other.x - 0.5 if kind == "beside" else one.y < other.y - 0.5
            assert (scene.things[0].name, scene.things[1].name) == tuple(
                composer.sprites[o.sprite].name for o in (one, other)
            )
            words = scene.caption.replace(",", "").split()
            places = [words.index(thing.name) for thing in scene.things]
            forwards = any(word in words for word in first) and places[0] < places[1]
            backwards = any(word in words for word in second) and places[1] < places[0]
            assert forwards or backwards, scene.caption


@pytest.mark.parametrize("kind", ["two", "two colours"])
def test_things_that_no_word_places_mostly_stand_as_a_line_is_read(composer: Composer, kind: str) -> None:
    scenes = made(composer, kind, 200)
    as_read = []
    for scene in scenes:
        words = scene.caption.replace(",", "").split()
        named = sorted(scene.objects, key=lambda one: words.index(composer.sprites[one.sprite].name))
        as_read.append(named[0].x < named[1].x - 0.5)
    assert 0.85 < sum(as_read) / len(scenes) < 1
    assert len({round(scene.objects[0].y * 2) for scene in scenes}) > 1, "the line is not always in the middle"


def test_corners_and_sizes(composer: Composer) -> None:
    for scene in made(composer, "corner"):
        (one,) = scene.objects
        assert ("left" in scene.caption) == (one.x < 0)
        assert any(word in scene.caption for word in ("top", "upper")) == (one.y < 0)
    for scene in made(composer, "size"):
        assert any(word in scene.caption for word in ("small", "tiny", "little")) == (scene.objects[0].side < 0.5)


def test_a_coloured_thing_by_itself_is_as_large_as_one_in_its_own_colours(composer: Composer) -> None:
    on_a_grid = Composer(composer.sprites, grid=4)
    for scene in made(on_a_grid, "colour"):
        (one,) = scene.objects
        assert (one.x, one.y, one.side) == (0, 0, 1), "its codes' places are those that the thing has"
        assert one.hue == COLOURS[str(scene.things[0].colour)]


def test_objects_that_are_counted_lie_apart(composer: Composer) -> None:
    seen = set()
    for scene in made(composer, "count", 100):
        places = np.array([(one.x, one.y) for one in scene.objects])
        apart = np.abs(places[:, None] - places[None]).max(-1)[~np.eye(len(places), dtype=bool)]
        assert apart.min() > 2 * scene.objects[0].side * 0.9
        assert any(word in scene.caption for word in (NUMBERS[len(places)], str(len(places))))
        seen.add(len(places))
    assert seen == set(NUMBERS)


def test_held_out_combinations_are_never_composed(composer: Composer) -> None:
    everything = Composer(composer.sprites, wanted=lambda scene: True)
    met = {one for kind in KINDS for scene in made(everything, kind, 300) for one in scene.combinations}
    share = sum(map(held_out, met)) / len(met)
    assert 0.03 < share < 0.15
    trained = {one for kind in KINDS for scene in made(composer, kind, 300) for one in scene.combinations}
    assert not any(map(held_out, trained))
    measured = Composer(composer.sprites, wanted=lambda scene: any(map(held_out, scene.combinations)))
    assert all(any(map(held_out, scene.combinations)) for scene in made(measured, "two", 20))


def test_a_pair_is_one_combination_in_either_order(composer: Composer) -> None:
    (scene,) = made(composer, "two", 1)
    turned = replace(scene, things=scene.things[::-1])
    assert scene.combinations == turned.combinations


def test_a_share_of_the_scenes_is_a_sprite_as_it_is(composer: Composer) -> None:
    rng = np.random.default_rng(0)
    some = Composer(composer.sprites, alone=0.6)
    scenes = [some.scene(rng) for _ in range(300)]
    alone = [scene for scene in scenes if scene.kind == "alone"]
    assert 150 < len(alone) < 210
    for scene in alone:
        (one,) = scene.objects
        assert (one.x, one.y, one.side, one.hue, one.mirrored) == (0, 0, 1, None, False)
        assert scene.caption in composer.sprites[one.sprite].captions
        assert scene.ground is None
    assert some.scene(rng, "two").kind == "two"


def test_styles_and_grounds_are_said(composer: Composer) -> None:
    rng = np.random.default_rng(0)
    for scene in (composer.scene(rng) for _ in range(300)):
        styles = {composer.sprites[one.sprite].style for one in scene.objects}
        assert ("flat style" in scene.caption) == (styles == {"flat"})
        named = [name for name, ground in GROUNDS.items() if ground == scene.ground]
        assert all(name in scene.caption for name in named)
        colours = {thing.colour for thing in scene.things}
        assert not colours.intersection(named), "nothing can be seen on its own colour"
        assert ("photo" in scene.caption) == scene.photo


def test_the_same_seed_gives_the_same_scenes(composer: Composer) -> None:
    one, other = (compose(composer.scene, 30, seed=3) for _ in range(2))
    assert one[0] == other[0]
    assert torch.equal(one[1].objects.nan_to_num(9), other[1].objects.nan_to_num(9))
    assert compose(composer.scene, 30, seed=4)[0] != one[0]


def test_too_few_things_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least"):
        Composer(sprites()[0][:5])


@pytest.mark.parametrize(
    ("name", "several"),
    [
        ("cat", "cats"),
        ("bus", "buses"),
        ("fox", "foxes"),
        ("cherry", "cherries"),
        ("key", "keys"),
        ("fire engine", "fire engines"),
        ("wolf", "wolves"),
        ("tropical fish", "tropical fish"),
    ],
)
def test_plurals(name: str, several: str) -> None:
    assert plural(name) == several


def test_only_things_stand_in_scenes() -> None:
    cat = sprites()[0][0]
    assert is_thing(cat)
    assert not is_thing(replace(cat, name="cooked rice"))
    assert not is_thing(replace(cat, group="smileys-emotion"))
    assert not is_thing(replace(cat, name="a long name of many words"))


# Pictures


def test_objects_are_drawn_where_they_stand() -> None:
    made_of, pixels = sprites()
    composer = Composer(made_of)
    scenes = [scene for kind in ("beside", "stacked") for scene in made(composer, kind, 40)]
    # In the middle, so that the corners are empty.
    scenes = [scene for scene in scenes if all(min(abs(one.x), abs(one.y)) < 0.1 for one in scene.objects)]
    assert len(scenes) > 20
    pictures = Renderer(torch.from_numpy(pixels))(Scenes.of(scenes))
    assert pictures.shape == (len(scenes), 3, SIDE, SIDE)
    for scene, picture in zip(scenes, pictures, strict=True):
        for one in scene.objects:
            x, y = (int((value + 1) / 2 * SIDE) for value in (one.x, one.y))
            colour = torch.from_numpy(pixels[one.sprite, SIDE // 2, SIDE // 2, :3]) / 127.5 - 1
            assert (picture[:, y, x] - colour).abs().max() < 0.05
        corners = picture[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert torch.equal(corners, torch.ones(3, 4))


def test_a_whole_sprite_is_drawn_as_it_is() -> None:
    made_of, pixels = sprites()
    rng = np.random.default_rng(0)
    pixels[0, ..., :3] = rng.integers(0, 256, (SIDE, SIDE, 3))
    scene = made(Composer(made_of), "single", 1)[0]
    alone = replace(scene, objects=(replace(scene.objects[0], sprite=0, x=0.0, y=0.0, side=1.0),))
    mirrored = replace(alone, objects=(replace(alone.objects[0], mirrored=True),))
    plain, turned = Renderer(torch.from_numpy(pixels))(Scenes.of([alone, mirrored]))
    alpha = torch.from_numpy(pixels[0, ..., 3:]) / 255
    expected = (torch.from_numpy(pixels[0, ..., :3]) / 255 * alpha + 1 - alpha) * 2 - 1
    assert (plain - expected.permute(2, 0, 1)).abs().max() < 1e-4
    assert (turned - plain.flip(2)).abs().max() < 1e-4


def test_grounds_are_coloured_or_soft_photographs() -> None:
    made_of, pixels = sprites()
    (scene,) = made(Composer(made_of), "single", 1)
    scene = replace(scene, objects=(replace(scene.objects[0], side=0.3),))
    scenes = [replace(scene, ground=(255, 0, 0)), replace(scene, photo=True)]
    photos = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    red, soft = Renderer(torch.from_numpy(pixels), photos)(Scenes.of(scenes), torch.Generator().manual_seed(0))
    assert red[:, 0, 0].tolist() == [1, -1, -1]
    assert 0 < soft[:, 0].diff(dim=1).abs().max() < 0.5


def test_shaking_moves_a_little() -> None:
    made_of, pixels = sprites()
    scenes = Scenes.of(made(Composer(made_of), "two", 4))
    renderer = Renderer(torch.from_numpy(pixels))
    still, again = renderer(scenes), renderer(scenes)
    shaken = renderer(scenes, torch.Generator().manual_seed(0))
    assert torch.equal(still, again)
    assert 0 < (shaken - still).abs().mean() < 0.2


def test_recolouring_gives_the_hue_and_leaves_the_rest() -> None:
    rgb = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.6, 0.2], [0.5, 0.5, 0.5]]).view(3, 3, 1, 1)
    for name, hue in COLOURS.items():
        out = recolour(rgb, torch.full((3,), hue)).flatten(1)
        for row in out.tolist():
            found, saturation, value = colorsys.rgb_to_hsv(*row)
            if hue >= 0:
                assert min(abs(found - hue), 1 - abs(found - hue)) < 0.01, name
                assert saturation > 0.25
            else:
                assert saturation < 0.1
                assert value < 0.3 if name == "black" else value > 0.65
        if name == "white":  # what is drawn on it is still seen, and it is seen on white itself
            assert out[0].max() - out[2].max() > 0.15
            assert out.amax(1).max() < 1 - GROUND / 255
    assert torch.equal(recolour(rgb, torch.full((3,), float("nan"))), rgb)


def test_the_share_of_single_things_is_as_asked() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.8):
        composer = Composer(sprites()[0], single=share)
        found = sum(composer.scene(rng).kind == "single" for _ in range(200)) / 200
        assert found == pytest.approx(share, abs=0.1)


def test_things_on_a_grid_fill_whole_cells() -> None:
    rng = np.random.default_rng(0)
    composer, free = Composer(sprites()[0], grid=16), Composer(sprites()[0])
    placed = [one for _ in range(100) for one in composer.scene(rng).objects]
    for one in placed:
        edges = [edge * 8 for centre in (one.x, one.y) for edge in (centre + 1 - one.side, centre + 1 + one.side)]
        assert edges == pytest.approx([round(edge) for edge in edges], abs=1e-6)
        assert min(edges) > -1e-6
        assert max(edges) < 16 + 1e-6
    assert len({(one.x, one.y, one.side) for one in placed}) > 20
    for kind in ("beside", "stacked", "count"):  # it stays where it was, but for half a cell each way
        one, other = (made.scene(np.random.default_rng(5), kind).objects[0] for made in (composer, free))
        assert max(abs(one.x - other.x), abs(one.y - other.y), abs(one.side - other.side)) < 1 / 8


def test_common_names_stand_in_more_scenes() -> None:
    rng = np.random.default_rng(0)
    composer = Composer(sprites()[0], common=lambda name: 20.0 if name == "cat" else 1.0)
    scenes = [composer.scene(rng, "two") for _ in range(60)]
    with_cat = [scene for scene in scenes if "cat" in {thing.name for thing in scene.things}]
    assert len(with_cat) > 40
    assert all(len({thing.name for thing in scene.things}) == 2 for scene in scenes)
