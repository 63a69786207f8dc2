"""Lists: metadata.jsonl beside pictures, and the authors' lists of pictures and of parts of clips."""

import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from helpers.tars import clip, png, unpack

from grn.data.samples import Wording
from grn.data.sources import open_source
from grn.errors import BadInputError


def listed(path: Path, lines: Iterable[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_a_folder_with_metadata_holds_what_it_lists(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"a.png": png(1), "deep/b.jpg": png(2), "c.png": png(3)})
    lines = [
        {"file_name": "deep/b.jpg", "text": "a bee", "style": "flat"},
        {"file_name": "a.png", "text": "", "label": 4},
        {"file_name": "notes.md", "text": "no picture"},
    ]
    listed(folder / "metadata.jsonl", lines)
    source = open_source(folder)
    assert [(s.key, s.captions, s.label) for s in source] == [("deep/b.jpg", ("a bee",), None), ("a.png", ("",), 4)]
    assert [int(s.image()[0, -1, 0]) for s in source] == [2, 1]
    assert source.captioned().tolist() == [True, False]
    assert source.labels().tolist() == [-1, 4]
    assert [s.key for s in source.keep(style=("flat",))] == ["deep/b.jpg"]
    assert str(source.left_out) == "1 left out: 1 of other kinds (.md)"
    assert str(source[0]) == f"{folder}/metadata.jsonl:1"


def test_the_authors_list_of_pictures_has_captions_of_types(tmp_path: Path) -> None:
    line = {
        "image_path": str(unpack(tmp_path / "elsewhere", {"a.png": png(9)}) / "a.png"),
        "long_caption": "an ant on a leaf", "long_caption_type": "long", "text": "an ant", "short_caption_type": "short",
        "width": 8, "height": 8,
    }  # fmt: skip
    lists = unpack(tmp_path / "lists", {})
    lists.mkdir()
    listed(lists / "part-0.jsonl", [line])
    listed(lists / "part-1.jsonl", [line | {"text": "the same", "long_caption": None}])
    for place in (lists, lists / "part-*.jsonl", lists / "part-{0..1}.jsonl", tmp_path / "*" / "*.jsonl"):
        first, second = open_source(place)
        assert first.wordings == (Wording("an ant on a leaf", "long"), Wording("an ant", "short"))
        assert second.wordings == (Wording("the same", "short"),)
        assert first.info == {"width": 8, "height": 8, "captions": first.info["captions"]}
        assert int(first.image()[0, -1, 0]) == 9


def test_the_authors_list_of_clips_names_their_frames(tmp_path: Path) -> None:
    unpack(tmp_path, {"a.webp": clip(range(10, 200, 10), milliseconds=100)})
    captions = [{"type": "short", "content": "it brightens"}, {"type": "long", "content": "a grey brightens"}]
    line = {
        "video_path": "a.webp",
        "begin_frame_id": 3,
        "end_frame_id": 9,
        "fps": 10.0,
        "duration": 0.6,
        "caption": captions,
    }
    lines = [
        line,
        {k: v for k, v in line.items() if k != "fps"},
        line | {"begin_frame_id": 9},
        {"video_path": "a.webp"},
    ]
    part, no_rate, empty, whole = open_source(listed(tmp_path / "clips.jsonl", lines), clips=True)
    greys = lambda frames: [round(int(frame[0, -1, 0]), -1) for frame in frames]  # noqa: E731
    assert greys(part.clip(6)) == greys(no_rate.clip(6)) == [40, 50, 60, 70, 80, 90]
    assert greys(part.clip(8)) == [40, 50, 60, 70, 80, 90, 90, 90]
    assert greys(part.clip(3, fps=5.0)) == [40, 60, 80]
    assert greys(whole.clip(3)) == [10, 20, 30]
    assert part.wordings == (Wording("it brightens", "short"), Wording("a grey brightens", "long"))
    with pytest.raises(BadInputError, match=r"clips\.jsonl:3: frames 9 to 9 are no range"):
        empty.clip(3)


BAD = [
    (b"{", "Expecting"),
    (b"[1]", "holds a list"),
    (b'{"text": "a"}', "names no file"),
    (b'{"file_name": 3}', "names no file"),
    (b'{"file_name": "a.png", "text": 3}', "neither a text nor a list"),
    (b'{"file_name": "a.png", "caption": [{"content": 3}]}', "must be a list"),
    (b'{"file_name": "a.png", "captions": "a"}', "must be a list"),
    (b'{"file_name": "a.png", "label": "cat"}', "expected a number"),
    (b'{"file_name": "\xff"}', "utf-8"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=range(len(BAD)))
def test_a_line_that_cannot_be_understood_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"file_name": "a.png"}\n\n' + line + b"\n")
    good, bad = open_source(path)
    assert good.key == "a.png"
    with pytest.raises(BadInputError, match=message) as caught:
        bad.image()
    assert str(caught.value).startswith(f"{path}:3: ")
    path.write_bytes(line)
    with pytest.raises(BadInputError, match=message):  # none can be read
        open_source(path)


def test_a_line_that_is_too_long_is_one_bad_sample_and_those_behind_it_keep_their_numbers(tmp_path: Path) -> None:
    path, longest = tmp_path / "d.jsonl", 1 << 20
    line = b'{"file_name": "%s.png", "note": "%s"}'
    fits, one_more, endless = (
        line % (b"b", b"x" * (size - len(line % (b"b", b"")))) for size in (longest, longest + 1, 6 * longest)
    )
    path.write_bytes(b"\n".join([line % (b"a", b""), fits, one_more, endless, line % (b"c", b""), one_more]))
    tracemalloc.start()
    source = open_source(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(sample.key, sample.place) for sample in source] == [
        (key, f"{path}:{number}")
        for key, number in [("a.png", 1), ("b.png", 2), ("3", 3), ("4", 4), ("c.png", 5), ("6", 6)]
    ]
    assert peak < 12 * longest  # in which the line that fits is decoded, checked and kept
    for number in (3, 4, 6):
        with pytest.raises(
            BadInputError, match=rf"d\.jsonl:{number}: is longer than {longest} bytes; repair or remove the line"
        ):
            source[number - 1].image()


def test_a_missing_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    (sample,) = open_source(listed(tmp_path / "d.jsonl", [{"file_name": "none.png"}]))
    with pytest.raises(BadInputError, match=r"d\.jsonl:1: cannot be read"):
        sample.image()


def test_names_that_no_file_can_have_and_frames_without_end_are_bad_samples(tmp_path: Path) -> None:
    unpack(tmp_path, {"a.webp": clip([1, 2])})
    far = {"file_name": "a.webp", "begin_frame_id": 0, "end_frame_id": 10**400}
    lines = [{"file_name": "a\ud800.webp"}, far, far | {"end_frame_id": 2, "fps": float("nan")}]
    strange, endless, plain = open_source(listed(tmp_path / "l.jsonl", lines), clips=True)
    with pytest.raises(BadInputError, match=r"l\.jsonl:1: cannot be read"):
        strange.data()
    with pytest.raises(BadInputError, match=r"l\.jsonl:2: frames 0 to 10+ are no range"):
        endless.frames(1)
    assert len(plain.frames(1)) == 1  # at the file's own rate
