"""Folders, class folders and shards; what each sample is called when it is at fault; shards that lie."""

import io
import json
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.tars import pack, png, unpack

from grn.data.samples import Sample
from grn.data.sources import open_source
from grn.errors import BadInputError


def greys(path: Path | str) -> list[int]:
    return [int(sample.image()[0, -1, 0]) for sample in open_source(path)]


FILES = {
    "b.png": png(20),
    "b.txt": "\ufeff a bee \n".encode(),
    "a.png": png(10),
    "a.json": b'{"captions": ["an ant", "ein Ameise"], "style": "flat"}',
    "c.PNG": png(30),
    "c.json": b'{"caption": "a cat", "style": "3d"}',
    "c.cls": b"7\n",
    "notes.md": b"no picture",
}


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_captions_classes_and_facts_of_both_kinds_of_place(tmp_path: Path, kind: str) -> None:
    path = unpack(tmp_path / "d", FILES) if kind == "folder" else pack(tmp_path / "d.tar", FILES.items())
    found = {s.key.split(".")[0]: s for s in open_source(path)}
    assert {key: int(s.image()[0, -1, 0]) for key, s in found.items()} == {"a": 10, "b": 20, "c": 30}
    assert {key: s.captions for key, s in found.items()} == {
        "a": ("an ant", "ein Ameise"),
        "b": ("a bee",),
        "c": ("a cat",),
    }
    assert [found[key].label for key in "abc"] == [None, None, 7]
    assert found["a"].info["style"] == "flat"
    assert str(found["a"]) == (f"{path}/a.png" if kind == "folder" else f"{path}: a")


def test_class_folders_are_numbered_by_name_unless_there_are_captions(tmp_path: Path) -> None:
    files = {"dog/1.png": png(1), "cat/deep/2.png": png(2), "cat/3.png": png(3), "dog/5.png": png(5), "dog/5.cls": b"9"}
    source = open_source(unpack(tmp_path / "d", files))
    assert [(s.key, s.label) for s in source] == [
        ("cat/3.png", 0),
        ("cat/deep/2.png", 0),
        ("dog/1.png", 1),
        ("dog/5.png", 9),
    ]
    for name, side in (("dog/1.txt", b"a dog"), ("dog/1.json", b'{"captions": ["a dog"]}')):
        mixed = unpack(tmp_path / name[-3:], {**files, name: side})
        assert [s.label for s in open_source(mixed)] == [None, None, None, 9]
    assert {s.label for s in open_source(unpack(tmp_path / "top", {**files, "0.png": png(0)}))} == {None, 9}


def test_hidden_and_half_written_files_and_links_are_left_out(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"a.png": png(1), "._a.png": b"fork", ".grn-1-2.part.png": b"", "b.png/c.txt": b""})
    (folder / "l.png").symlink_to(folder / "none.png")
    assert greys(folder) == [1]
    shard = pack(tmp_path / "d.tar", [("x/._a.png", b"fork"), ("x/a.png", png(1)), ("readme", b"")])
    assert greys(shard) == [1]


def test_shards_by_folder_range_and_wildcard(tmp_path: Path) -> None:
    for number in range(12):
        pack(tmp_path / f"train-{number:03d}.tar", [("same-key.png", png(number))])
    pack(tmp_path / "other.tar", [("x.png", png(99))])
    assert greys(tmp_path / "train-{000..011}.tar") == list(range(12))
    assert greys(tmp_path / "train-{003..004}.tar") == [3, 4]
    assert greys(tmp_path / "train-00*.tar") == list(range(10))
    assert greys(tmp_path / "train-00[35].tar") == [3, 5]
    assert greys(tmp_path / "{other,train-004}.tar") == [99, 4]
    assert greys(tmp_path / "{train,other}*{3,4}.tar") == [3, 4]
    assert greys(tmp_path) == [99, *range(12)]
    (tmp_path / "part-0").mkdir()
    pack(tmp_path / "part-0" / "more.tar", [("x.png", png(50))])
    assert greys(tmp_path) == [99, 50, *range(12)]
    assert greys(tmp_path / "*" / "*.tar") == greys(tmp_path / "**" / "m*.tar") == [50]
    for name in ("here", "there"):
        (tmp_path / name).symlink_to(tmp_path)  # circles, which are not gone through without end
    pack(tmp_path / ".more.tar", [("x.png", png(51))])
    assert greys(tmp_path / "**" / "m*.tar") == greys(tmp_path / "**" / "*more.tar") == [50]
    with pytest.raises(BadInputError, match="cannot be looked for"):
        open_source(tmp_path / "**m.tar")
    with pytest.raises(BadInputError, match=r"train-012\.tar"):
        open_source(tmp_path / "train-{010..012}.tar")
    for name in ("train-{5..2}.tar", "train-{0..99999999}.tar"):
        with pytest.raises(BadInputError, match="stands for"):
            open_source(tmp_path / name)
    with pytest.raises(BadInputError, match="no such folder or tar"):
        open_source(tmp_path / "test-*.tar")


def test_a_key_ends_at_the_first_dot_of_its_name(tmp_path: Path) -> None:
    members = [("v1.2/7.seg.png", png(1)), ("v1.2/7.png", png(2)), ("v1.2/8.png", png(3)), ("v1.2/7.txt", b"seven")]
    source = open_source(pack(tmp_path / "d.tar", members))
    assert [(s.key, s.caption) for s in source] == [("v1.2/7", "seven"), ("v1.2/8", "")]
    assert [int(s.image()[0, -1, 0]) for s in source] == [2, 3]
    with pytest.raises(BadInputError, match=r"IMG\.7\.png is no picture of key 'IMG'"):
        open_source(pack(tmp_path / "e.tar", [("a.png", png(1)), ("IMG.7.png", png(1))]))


def test_keep_takes_facts_of_any_type(tmp_path: Path) -> None:
    members = [
        (f"{n}.{end}", data)
        for n in range(4)
        for end, data in (("png", png(n)), ("json", json.dumps({"n": n}).encode()))
    ]
    source = open_source(pack(tmp_path / "d.tar", [*members, ("4.png", png(4))]))
    assert [s.key for s in source.keep(n=(1, 3))] == ["1", "3"]
    assert not len(source.keep(n=("1",)))
    assert not len(source.keep(n=(1,), style=("x",)))
    assert len(source.keep()) == 5
    assert [s.key for s in source[1:3]] == ["1", "2"]


SIDES = [
    (".txt", b"\xff\xfe\x00", "utf-8"),
    (".json", b"{", "Expecting"),
    (".json", b"[1]", "the JSON holds a list"),
    (".json", b"[" * 100_000, "recursion"),
    (".json", b'{"captions": "one"}', "must be a list of strings"),
    (".json", b'{"captions": [1]}', "must be a list of strings"),
    (".json", b'{"caption": 3}', "must be a string"),
    (".cls", b"cat", "the class is 'cat'"),
    (".cls", b"-1", "0 or above"),
    (".txt", b"a" * (1 << 20) + b"b", "too long"),
]


@pytest.mark.parametrize(("suffix", "data", "message"), SIDES, ids=[f"{s}-{m}" for s, _, m in SIDES])
def test_an_unreadable_caption_class_or_fact_names_its_sample(
    tmp_path: Path, suffix: str, data: bytes, message: str
) -> None:
    members = {"good.png": png(1), "sub/bad.png": png(2), f"sub/bad{suffix}": data}
    for path in (unpack(tmp_path / "d", members), pack(tmp_path / "d.tar", members.items())):
        good, bad = open_source(path)
        assert int(good.image()[0, -1, 0]) == 1
        for read in (bad.image, lambda bad=bad: bad.captions, lambda bad=bad: bad.frames(1)):
            with pytest.raises(BadInputError, match=message) as caught:
                read()
            assert str(path) in str(caught.value)
            assert "sub/bad" in str(caught.value)
            assert len(str(caught.value)) < 400 + 2 * len(str(path))
    del members["good.png"]
    with pytest.raises(BadInputError, match=message):  # none can be read
        open_source(pack(tmp_path / "bad.tar", members.items()))


@pytest.mark.parametrize("data", [b"", b"text", png(1)[:-30]], ids=["empty", "text", "cut"])
def test_an_unreadable_picture_names_its_sample(tmp_path: Path, data: bytes) -> None:
    members = {"good.png": png(1), "bad.png": data}
    for path in (unpack(tmp_path / "d", members), pack(tmp_path / "d.tar", members.items())):
        (sample,) = (s for s in open_source(path) if s.key.startswith("bad"))
        with pytest.raises(BadInputError) as caught:
            sample.image()
        assert str(caught.value).startswith(str(sample))
        assert str(path) in str(sample)


def test_a_picture_that_has_gone_names_its_sample(tmp_path: Path) -> None:
    folder, shard = unpack(tmp_path / "d", {"a.png": png(1)}), pack(tmp_path / "d.tar", [("a.png", png(1))])
    samples = [*open_source(folder), *open_source(shard)]
    (folder / "a.png").unlink()
    shard.unlink()
    for sample in samples:
        with pytest.raises(BadInputError, match=r"a(\.png)?: cannot be read"):
            sample.image()


def test_control_characters_of_names_stay_out_of_messages(tmp_path: Path) -> None:
    shard = pack(tmp_path / "d.tar", [("\x1b[2J\n.png", b"no picture")])
    (sample,) = open_source(shard)
    with pytest.raises(BadInputError) as caught:
        sample.image()
    assert str(caught.value).isprintable()
    with pytest.raises(BadInputError) as caught:
        open_source(pack(tmp_path / "e.tar", [("\x1b.png", b""), ("\x1b.txt", b"\xff")]))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [None, b"", b"a text file, not a tar" * 100, b"\x1f\x8b\x08\x00" + b"0" * 600])
def test_what_is_no_place_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "d.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"d\.tar"):
        open_source(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no pictures found"):
        open_source(tmp_path / "empty")


def test_a_shard_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.tar", [(f"{n}.png", png(n)) for n in range(3)])
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    for length in range(0, end, 100):
        path.write_bytes(data[:length])
        with pytest.raises(BadInputError, match=r"d\.tar"):
            open_source(path)
    path.write_bytes(data)
    assert greys(path) == [0, 1, 2]


@pytest.mark.parametrize("at", [512 * 2 + 10, 512 * 2 + 124, 512 * 2 + 148])
def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path, at: int) -> None:
    path = pack(tmp_path / "d.tar", [(f"{n}.png", png(n)) for n in range(3)])
    data = bytearray(path.read_bytes())
    data[at] ^= 0x11
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="damaged at byte 1024"):
        open_source(path)


def _header(**fields: object) -> bytes:
    info = tarfile.TarInfo("a.png")
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [-512, -1, 1 << 40, (1 << 60) + 3])
def test_sizes_that_lie_are_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "d.tar"
    path.write_bytes(_header(size=size) + png(1).ljust(512, b"\0") + b"\0" * 1024)
    with pytest.raises(BadInputError, match=r"d\.tar"):
        open_source(path)


def test_hostile_members_are_neither_followed_nor_extracted(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(66))
    path = tmp_path / "shards" / "d.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for name, kind, target in [
            ("link.png", tarfile.SYMTYPE, "../secret.png"),
            ("hard.png", tarfile.LNKTYPE, "../secret.png"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
            ("device.png", tarfile.CHRTYPE, ""),
            ("folder.png", tarfile.DIRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        for name in ("../../escaped.png", "/absolute.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(5))
            tar.addfile(info, io.BytesIO(png(5)))
    before = sorted(tmp_path.rglob("*"))
    assert greys(path) == [5, 5]
    assert sorted(tmp_path.rglob("*")) == before


def test_sparse_members_and_twin_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.tar"
    path.write_bytes(_header(type=tarfile.GNUTYPE_SPARSE, size=512) + b"\0" * 512 * 3)
    with pytest.raises(BadInputError, match="not stored whole"):
        open_source(path)
    with pytest.raises(BadInputError, match=r"key 'a' has two files \.png"):
        open_source(pack(tmp_path / "e.tar", [("a.png", png(1)), ("b.png", png(1)), ("a.png", png(1))]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_places_without_permission_are_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.tar", [("a.png", png(1))])
    path.chmod(0)
    with pytest.raises(BadInputError, match="cannot be read"):
        open_source(path)


def test_samples_of_shards_can_be_sent_to_workers(tmp_path: Path) -> None:
    (sample,) = open_source(pack(tmp_path / "d.tar", [("a.png", png(3))]))
    copy: Sample = pickle.loads(pickle.dumps(sample))
    assert np.array_equal(copy.image(), sample.image())


def test_texts_end_where_their_file_does(tmp_path: Path) -> None:
    """U+2028 and a form feed end no line, and a byte order mark is none of the text."""
    files = {"a.png": png(1), "a.txt": "\ufeffa cat\u2028on\fa mat\n".encode(), "a.cls": "\ufeff3\r\n".encode()}
    files["a.json"] = '\ufeff{"captions": ["one\u2028two"], "style": "3d"}'.encode()
    for path in (unpack(tmp_path / "d", files), pack(tmp_path / "d.tar", files.items())):
        (sample,) = open_source(path)
        assert (sample.caption, sample.captions, sample.label) == ("a cat\u2028on\fa mat", ("one\u2028two",), 3)
        assert sample.info["style"] == "3d"


@pytest.mark.parametrize("top", ["", "./", "animals/"])
def test_class_folders_of_a_tar_are_those_of_the_folder(tmp_path: Path, top: str) -> None:
    files = {"dog/1.png": png(1), "cat/deep/2.png": png(2), "cat/3.png": png(3), "ant/4.png": png(4)}
    folder = open_source(unpack(tmp_path / "d", files))
    tar = open_source(pack(tmp_path / "d.tar", [(top + name, data) for name, data in files.items()]))
    assert folder.classes == tar.classes == ("ant", "cat", "dog")
    assert {s.label for s in folder} == {0, 1, 2}
    assert [tar.classes[s.label] for s in tar] == ["dog", "cat", "cat", "ant"]
    assert folder.keep().classes == folder[1:].classes == folder.classes
    shards = [pack(tmp_path / f"s-{n}.tar", [item]) for n, item in enumerate(files.items())]
    assert len(shards) == 4
    assert open_source(tmp_path / "s-*.tar").classes == ("ant", "cat", "dog")


def test_what_is_left_out_is_said_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"a.png": png(1), ".hidden/b.png": png(2), "notes.md": b"", "lone.txt": b"a", "._a.png": b""}
    for path in (unpack(tmp_path / "d", files), pack(tmp_path / "d.tar", files.items())):
        caplog.clear()
        source = open_source(path)
        assert len(source) == 1
        said = "4 left out: 2 hidden, 1 of other kinds (.md), 1 captions, classes or facts without a picture"
        assert str(source.left_out) == said
        assert [record.message for record in caplog.records] == [f"{path}: {said}"]
        with pytest.raises(BadInputError, match=r"no clips found .*; 5 left out"):
            open_source(path, clips=True)


def test_missing_captions_are_known(tmp_path: Path) -> None:
    files = {"a.png": png(1), "b.png": png(2), "c.png": png(3), "b.TXT": b"a bee"}
    assert open_source(unpack(tmp_path / "some", files)).captioned().tolist() == [False, True, False]


def test_a_tar_keeps_the_first_picture_of_a_key(tmp_path: Path) -> None:
    source = open_source(pack(tmp_path / "d.tar", [("b.seg.png", png(0)), ("b.png", png(1)), ("b.gif", png(2))]))
    assert [sample.key for sample in source] == ["b"]
    assert str(source.left_out) == "2 left out: 1 of other kinds (.png), 1 further pictures of one key"


def test_a_tar_of_many_members_stays_small_in_memory(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.tar", [*((f".hidden/{n}.png", b"") for n in range(5_000)), ("a.png", png(1))])
    assert len(open_source(pack(tmp_path / "first.tar", [("a.png", png(1))]))) == 1  # imports what is imported late
    tracemalloc.start()
    assert len(open_source(path)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
