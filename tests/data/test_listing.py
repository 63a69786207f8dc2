"""Which files of a folder count, and what is said of those that do not."""

import os
from pathlib import Path

import pytest
from helpers.tars import unpack

from grn.data.listing import LeftOut, Reason, is_hidden, list_folder
from grn.errors import BadInputError

PICTURES = (".png", ".jpg")


def names(root: Path, **more: object) -> list[str]:
    return [str(path.relative_to(root)) for path in list_folder(root, PICTURES).files]


def test_files_come_sorted_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"b.PNG": b"", "a/z.Jpg": b"", "a.png": b"", "a/deep/x.jpg": b""})
    assert names(folder) == ["a/deep/x.jpg", "a/z.Jpg", "a.png", "b.PNG"]
    assert names(folder) == [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]


def test_hidden_files_and_folders_are_counted_and_left_out(tmp_path: Path) -> None:
    files = {
        "a.png": b"",
        "._a.png": b"",
        ".cache/b.png": b"",
        "c/.ipynb_checkpoints/d.png": b"",
        ".grn-1.part.png": b"",
    }
    found = list_folder(unpack(tmp_path / "d", files), PICTURES)
    assert [path.name for path in found.files] == ["a.png"]
    assert found.left_out.reasons == {Reason.HIDDEN: 4}
    assert str(found.left_out) == "4 left out: 4 hidden"


def test_other_kinds_are_counted_and_named_by_suffix(tmp_path: Path) -> None:
    files = {f"{n}.md": b"" for n in range(3)} | {"x.CSV": b"", "README": b"", "a.png": b""}
    found = list_folder(unpack(tmp_path / "d", files), PICTURES)
    assert found.left_out.suffixes == {".md": 3, ".csv": 1, "no suffix": 1}
    assert str(found.left_out).startswith("5 left out: 5 of other kinds (.md, ")
    many = LeftOut()
    for n in range(9):
        many.add(Reason.OTHER_KIND, f"a.{n}")
    assert str(many) == "9 left out: 9 of other kinds (.0, .1, .2, .3, .4, ...)"


def test_links_are_followed_and_those_that_lead_nowhere_counted(tmp_path: Path) -> None:
    outside = unpack(tmp_path / "outside", {"dog/1.png": b"", "2.png": b""})
    folder = unpack(tmp_path / "d", {"cat/0.png": b""})
    (folder / "dog").symlink_to(outside / "dog")
    (folder / "two.png").symlink_to(outside / "2.png")
    (folder / "gone.png").symlink_to(outside / "none.png")
    (folder / "gone").symlink_to(outside / "nowhere")
    assert names(folder) == ["cat/0.png", "dog/1.png", "two.png"]
    assert list_folder(folder, PICTURES).left_out.reasons == {Reason.LOST_LINK: 2}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {f"{n}/{n}.png": b"" for n in range(6)})
    (folder / "0" / "up").symlink_to(folder)
    (folder / "0" / "self").symlink_to(folder / "0")
    assert names(folder) == [f"{n}/{n}.png" for n in range(6)]
    for here in range(6):
        for other in range(6):
            if here != other:
                (folder / str(here) / f"to{other}").symlink_to(folder / str(other))
    found = list_folder(folder, PICTURES)
    assert 6 < len(found.files) < 6**5
    assert found.left_out.reasons[Reason.LOST_LINK] > 0


def test_pipes_are_counted(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"a.png": b""})
    os.mkfifo(folder / "b.png")
    found = list_folder(folder, PICTURES)
    assert [path.name for path in found.files] == ["a.png"]
    assert found.left_out.reasons == {Reason.SPECIAL: 1}


def test_what_lies_beside_a_picture_is_found_by_name(tmp_path: Path) -> None:
    files = {
        "v1.2.png": b"",
        "v1.2.TXT": b"",
        "v1.2.json": b"",
        "v1.txt": b"",
        "sub/v1.2.txt": b"",
        "v1.2.caption": b"",
    }
    folder = unpack(tmp_path / "d", files)
    found = list_folder(folder, PICTURES, {".txt", ".json"})
    (picture,) = found.files
    assert found.beside(picture) == {".txt": folder / "v1.2.TXT", ".json": folder / "v1.2.json"}
    assert found.left_out.reasons == {Reason.ALONE: 2, Reason.OTHER_KIND: 1}
    (folder / "v1.2.txt").touch()
    with pytest.raises(BadInputError, match=r"v1\.2\.(txt|TXT): lies beside v1\.2\.(TXT|txt)"):
        list_folder(folder, PICTURES, {".txt"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"in/a.png": b""})
    (folder / "in").chmod(0)
    with pytest.raises(BadInputError, match="in: cannot be listed"):
        list_folder(folder, PICTURES)


def test_hidden_is_told_by_any_part_of_a_path() -> None:
    assert [is_hidden(path) for path in ("a/.b/c.png", ".a.png", "a/b.png", "./a.png", "../a.png")] == [
        True,
        True,
        False,
        False,
        False,
    ]
