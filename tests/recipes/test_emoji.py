"""The emoji recipe on a tiny made-up set of packages: captions, splits, rendering and the tars."""

import importlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from grn.data.sources import open_source
from grn.errors import BadInputError, EnvironmentFaultError
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig

RECIPE = Path(__file__).parents[2] / "recipes" / "emoji"
NAMES = ("captions", "packages", "prepare", "prepare_video", "word_vectors", "sheet", "new_words")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, ModuleType]]:
    """The recipe's modules, imported as its scripts import each other."""
    sys.path.insert(0, str(RECIPE))
    yield {name: importlib.import_module(name) for name in NAMES}
    sys.path.remove(str(RECIPE))
    for name in NAMES:
        del sys.modules[name]


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A cat and a red dot: the cat in both styles, the dot as SVG alone, a flag that is left out."""
    folder = tmp_path / "npm"
    folder.mkdir()
    data = [
        {"label": "cat", "hexcode": "1F408", "tags": ["kitten", "pet"], "group": 3},
        {"label": "red dot", "hexcode": "1F534-FE0F", "tags": [], "group": 8},
        {"label": "flag: Wales", "hexcode": "1F3F4", "tags": ["flag"], "group": 9},
        {"label": "regional indicator A", "hexcode": "1F1E6"},
    ]
    pack(folder / "emojibase-data-17.0.0.tgz", {"en/data.json": json.dumps(data).encode()})
    icons = {
        "width": 32,
        "height": 32,
        "icons": {
            "dot": {"body": '<circle cx="16" cy="16" r="12" fill="#f00"/>'},
            "wide": {"body": '<path d="M0 0h16v16H0z" fill="#00f"/>', "height": 16},
        },
        "aliases": {"ediw": {"parent": "wide", "hFlip": True}},
    }
    chars = {"1f534": "dot", "1f408": "ediw", "1f3f4": "dot", "1f000": "gone"}
    pack(
        folder / "iconify-json-noto-1.2.9.tgz",
        {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()},
    )
    picture = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 255, 0, 128)).save(picture, "WEBP", lossless=True)
    pack(folder / "lobehub-fluent-emoji-3d-1.1.0.tgz", {"assets/1f408.webp": picture.getvalue()})
    return folder


def members(folder: Path) -> dict[str, bytes]:
    found = {}
    for split in ("train", "heldout-name", "heldout-pair"):
        with tarfile.open(folder / f"{split}.tar") as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def run(recipe: dict[str, ModuleType], packages: Path, out: Path, *options: str) -> dict:
    common = [
        "--packages",
        str(packages),
        "--out",
        str(out),
        "--size",
        "32",
        "--processes",
        "1",
        "--styles",
        "3d",
        "noto",
    ]
    return recipe["prepare"].prepare(recipe["prepare"].parse([*common, *options]))


def test_tars_hold_what_was_drawn(recipe: dict[str, ModuleType], packages: Path, tmp_path: Path) -> None:
    summary = run(recipe, packages, tmp_path / "out")
    found = members(tmp_path / "out")
    keys = ("3d-1f408", "noto-1f408", "noto-1f534")
    assert set(found) == {f"{key}.{suffix}" for key in keys for suffix in ("png", "txt", "json")}
    assert sum(sum(styles.values()) for styles in summary["counts"].values()) == 3
    assert summary["licences"]["noto"]["licence"] == "Apache-2.0"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == summary
    record = json.loads(found["noto-1f408.json"])
    assert record["captions"][0] == found["noto-1f408.txt"].decode() == "a cat, noto style"
    assert (record["name"], record["style"], record["hexcode"], record["group"]) == (
        "cat",
        "noto",
        "1f408",
        "animals-nature",
    )
    assert record["split"] in summary["counts"]


def test_pictures_lie_on_white(recipe: dict[str, ModuleType], packages: Path, tmp_path: Path) -> None:
    run(recipe, packages, tmp_path)
    found = members(tmp_path)
    dot, wide, cat = (Image.open(io.BytesIO(found[f"{key}.png"])) for key in ("noto-1f534", "noto-1f408", "3d-1f408"))
    assert {picture.mode for picture in (dot, wide, cat)} == {"RGB"}
    assert {picture.size for picture in (dot, wide, cat)} == {(32, 32)}
    assert dot.getpixel((16, 16)) == (255, 0, 0)
    assert dot.getpixel((0, 0)) == (255, 255, 255)
    # Half as high as wide: centred, and mirrored to the right.
    assert [wide.getpixel(at) for at in ((24, 16), (8, 16), (24, 2))] == [(0, 0, 255), (255,) * 3, (255,) * 3]
    assert cat.getpixel((5, 5)) == pytest.approx((127, 255, 127), abs=1)  # half transparent green


def test_same_bytes_again(recipe: dict[str, ModuleType], packages: Path, tmp_path: Path) -> None:
    run(recipe, packages, tmp_path / "one")
    run(recipe, packages, tmp_path / "two", "--processes", "2")
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_options_change_something(recipe: dict[str, ModuleType], packages: Path, tmp_path: Path) -> None:
    run(recipe, packages, tmp_path, "--flags", "--styles", "noto", "--size", "16")
    found = members(tmp_path)
    assert {name.split(".")[0] for name in found} == {"noto-1f408", "noto-1f534", "noto-1f3f4"}
    assert Image.open(io.BytesIO(found["noto-1f3f4.png"])).size == (16, 16)


def test_splits_depend_on_names_alone(recipe: dict[str, ModuleType]) -> None:
    split_of = recipe["prepare"].split_of
    splits = {name: {style: split_of(name, style) for style in "abc"} for name in map(str, range(4000))}
    held_names = [name for name, styles in splits.items() if "heldout-name" in styles.values()]
    assert all(set(splits[name].values()) == {"heldout-name"} for name in held_names)
    assert 0.04 < len(held_names) / 4000 < 0.06
    pairs = [split for styles in splits.values() for split in styles.values() if split != "heldout-name"]
    assert 0.04 < pairs.count("heldout-pair") / len(pairs) < 0.06


def test_bad_packages_are_named(
    recipe: dict[str, ModuleType], packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = packages / "iconify-json-noto-1.2.9.tgz"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(BadInputError, match=broken.name):
        run(recipe, packages, tmp_path)
    broken.unlink()
    monkeypatch.setenv("PATH", "")  # no npm
    with pytest.raises(EnvironmentFaultError, match="put iconify-json-noto"):
        run(recipe, packages, tmp_path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("cat", "a cat"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("SOS button", "an sos button"),
        ("eyes", "eyes"),
        ("bus", "a bus"),
        ("cooked rice", "cooked rice"),
        ("ten o’clock", "ten o'clock"),
        ("person surfing", "a person surfing"),
        ("man: red hair", "a man with red hair"),
        ("woman: bald", "a bald woman"),
        ("family: man, woman, boy", "a family of man, woman and boy"),
        ("Japanese “here” button", "japanese here button"),
        ("keycap: 1", "keycap 1"),
    ],
)
def test_names_read_as_english(recipe: dict[str, ModuleType], label: str, expected: str) -> None:
    captions = recipe["captions"]
    assert captions.with_article(captions.readable_name(label)) == expected


def test_captions_name_every_style_but_the_default(recipe: dict[str, ModuleType]) -> None:
    captions = recipe["captions"].captions
    noto = captions("cat", "noto", ["kitten", "kitty", "meow"])
    assert {"a cat, noto style", "cat, noto style", "kitten, noto style", "a cat in noto style"} <= set(noto)
    assert all("noto style" in caption for caption in noto)
    assert not any("meow" in caption for caption in noto)
    assert not any("," in caption.removesuffix(", noto style") for caption in noto)
    unstyled = [caption for caption in captions("cat", "3d", ["kitten"]) if "style" not in caption]
    assert {"a cat", "kitten"} <= set(unstyled)
    assert 0.75 < len(unstyled) / len(captions("cat", "3d", ["kitten"])) < 0.9


def test_synonyms_are_specific(recipe: dict[str, ModuleType]) -> None:
    shared = {"animal": 90, "animals": 1, "kitten": 2, "pet": 5, "dog": 1, "m": 1, "...": 1}
    chosen = recipe["captions"].specific_tags(list(shared), shared, frozenset({"cat", "dog"}))
    assert chosen == ["kitten", "pet"]


def test_vocabulary_keeps_what_is_needed(recipe: dict[str, ModuleType]) -> None:
    common = ["[PAD]", "x", "often", "cat", "seldom", "rare", "##ing", "##x", "!"]
    words, pieces = recipe["word_vectors"].choose_vocabulary(common, {"cat", "twemoji"}, rows=6)
    assert words == ["x", "often", "cat", "twemoji"]
    assert pieces == ["##ing", "##x"]


def test_distilled_vectors_keep_the_geometry(recipe: dict[str, ModuleType]) -> None:
    class Encoder:
        """Unit vectors with most of their variance on three of eight axes."""

        vocabulary = (*(chr(ord("a") + n) * (k + 1) for k in range(20) for n in range(26)), "##z")

        def texts(self, texts: list[str]) -> torch.Tensor:
            return self.tokens([text.split()[-1] for text in texts])

        def tokens(self, tokens: list[str]) -> torch.Tensor:
            seeds = [int.from_bytes(token.encode(), "big") % (2**31) for token in tokens]
            rows = [torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            return torch.nn.functional.normalize(torch.stack(rows) * torch.tensor([3, 3, 3, *[0.05] * 5]), dim=-1)

    table, kept = recipe["word_vectors"].distil(Encoder(), {"cat"}, dim=3, rows=400)
    assert table.vectors.shape == (400, 3)
    assert table.vectors.dtype == torch.float16
    assert "cat" in table.vocabulary
    assert kept["cosine_correlation"] > 0.99
    assert table.vectors[:-1].float().square().mean().sqrt().item() == pytest.approx(1, abs=0.01)
    _, worse = recipe["word_vectors"].distil(Encoder(), {"cat"}, dim=2, rows=400)
    assert worse["cosine_correlation"] < kept["cosine_correlation"]


# Clips


def animation(values: list[int], durations: list[int], size: int = 16) -> bytes:
    """Greys on a transparent ground, each for its time."""
    frames = []
    for value in values:
        frame = Image.new("RGBA", (size, size), (255, 0, 0, 0))
        frame.paste((value, value, value, 255), (0, 0, size // 2, size))
        frames.append(frame)
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=durations, lossless=True, exact=True)
    return out.getvalue()


@pytest.fixture
def moving(packages: Path, recipe: dict[str, ModuleType]) -> Path:
    """The packages of animations: a cat and a red dot that move, a still cat and one that nobody has named."""
    still = io.BytesIO()
    Image.new("RGBA", (16, 16), "red").save(still, "WEBP")
    members = [
        {"assets/1f408.webp": animation([0, 50, 100, 150], [100, 100, 100, 100])},
        {"assets/1f534-fe0f.webp": animation([200, 10], [100, 300]), "package.json": b"{}"},
        {"assets/1f408.webp": still.getvalue()},
        {"assets/1f999.webp": animation([1, 2], [100, 100])},
    ]
    for name, files in zip(recipe["prepare_video"].PACKAGES, members, strict=True):
        pack(packages / f"{name.rpartition('@')[0].lstrip('@').replace('/', '-')}-1.0.0.tgz", files)
    return packages


def _arguments(recipe: dict[str, ModuleType], packages: Path, out: Path, *more: str) -> object:
    given = ["--packages", str(packages), "--out", str(out), "--size", "8", "--frames", "4", "--fps", "8", *more]
    return recipe["prepare_video"].parse(given)


def test_clips_are_spread_over_the_whole_animation(recipe: dict[str, ModuleType], moving: Path, tmp_path: Path) -> None:
    summary = recipe["prepare_video"].prepare(_arguments(recipe, moving, tmp_path / "out"))
    assert (summary["size"], summary["frames"], summary["fps"], summary["skipped"]) == (8, 4, 8.0, {})
    assert sum(summary["counts"].values()) == 2
    samples = {}
    for split, count in summary["counts"].items():
        if count:
            for sample in open_source(tmp_path / "out" / f"video-{split}.tar", clips=True):
                assert sample.info["split"] == split == recipe["prepare_video"].split_of(sample.info["name"])
                samples[sample.key] = sample
    cat, dot = samples["animated-1f408"], samples["animated-1f534"]
    assert [int(frame[4, 1, 0]) for frame in cat.clip(4, fps=8)] == pytest.approx([0, 50, 100, 150], abs=1)
    assert [int(frame[4, 1, 0]) for frame in dot.clip(4, fps=8)] == pytest.approx([200, 10, 10, 10], abs=1)
    assert (cat.clip(4)[:, :, -1] == 255).all()  # on white
    assert cat.caption == "a cat"
    assert "cat, animated" in cat.captions
    assert "kitten" in cat.captions
    assert cat.info["style"] == "animated"


def test_clips_are_the_same_bytes_again_and_options_matter(
    recipe: dict[str, ModuleType], moving: Path, tmp_path: Path
) -> None:
    def made(*more: str) -> bytes:
        out = tmp_path / "-".join(("out", *more))
        recipe["prepare_video"].prepare(_arguments(recipe, moving, out, *more))
        return b"".join(path.read_bytes() for path in sorted(out.glob("*.tar")))

    plain = made()
    assert made("--processes", "1") == plain
    assert len({plain, made("--size", "16"), made("--frames", "3"), made("--fps", "4")}) == 4


def test_names_are_held_out_as_those_of_pictures(recipe: dict[str, ModuleType]) -> None:
    names = [f"thing {i}" for i in range(400)]
    held = [name for name in names if recipe["prepare_video"].split_of(name) == "heldout-name"]
    assert 8 <= len(held) <= 32
    for name in names:
        assert (recipe["prepare"].split_of(name, "3d") == "heldout-name") == (name in held)


def test_packages_without_animations_are_refused(recipe: dict[str, ModuleType], moving: Path, tmp_path: Path) -> None:
    for path in moving.glob("lobehub-fluent-emoji-anim-*"):
        pack(path, {"package.json": b"{}"})
    with pytest.raises(BadInputError, match="not one animation could be read"):
        recipe["prepare_video"].prepare(_arguments(recipe, moving, tmp_path / "out"))
    (moving / "lobehub-fluent-emoji-anim-2-1.0.0.tgz").write_bytes(b"not gzip")
    with pytest.raises(BadInputError, match="not a readable npm package"):
        recipe["prepare_video"].prepare(_arguments(recipe, moving, tmp_path / "out"))


def test_new_words_are_in_no_caption_in_any_number(recipe: dict[str, ModuleType]) -> None:
    seen = {"cat", "churches", "fairy", "tomato"}
    words = ("cat", "cats", "church", "fairies", "tomatoes", "##hen", "ox", "hare", "toad", "f1")
    assert [word for word in words if recipe["new_words"].is_new(word, seen)] == ["hare", "toad"]


def test_new_words_get_the_picture_of_the_nearest_name(recipe: dict[str, ModuleType], tmp_path: Path) -> None:
    words = ["cat", "dog", "kit", "hound", "sky", "style"]
    vectors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [3, 1, 0], [0.1, 1, 0], [0, 0, 1], [1, 1, 1]])
    StaticWordVectors(StaticWordVectorsConfig(dim=3, rows=len(words)), words, vectors).save(tmp_path / "words")
    for split in ("train", "heldout-name", "heldout-pair"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as archive:
            for name, style in (("cat", "3d"), ("dog", "3d"), ("dog", "noto")):
                facts = json.dumps({"name": name, "style": style, "captions": [name, f"{name}, {style} style"]})
                for suffix, data in (("png", _png(name)), ("txt", name.encode()), ("json", facts.encode())):
                    info = tarfile.TarInfo(f"{style}-{name}.{suffix}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    main, options = recipe["new_words"].main, ["--data", str(tmp_path), "--text-encoder", str(tmp_path / "words")]
    assert main(options) == 0
    made = open_source(tmp_path / "new-words.tar")
    assert [(s.caption, s.info["name"], s.info["style"]) for s in made] == [
        ("a hound", "dog", "3d"), ("a kit", "cat", "3d")
    ]  # fmt: skip
    assert made[0].data() == _png("dog")
    assert main([*options, "--least", "0.98"]) == 0
    assert len(open_source(tmp_path / "new-words.tar")) == 1
    assert main(["--data", str(tmp_path / "nowhere")]) == 1


def _png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), {"cat": "red", "dog": "blue"}[name]).save(file, "PNG")
    return file.getvalue()
