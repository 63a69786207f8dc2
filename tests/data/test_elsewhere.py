"""Shards by URL, data sets of the datasets library, and the index that stays on disk."""

import gzip
import http.server
import io
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pytest
from helpers.tars import pack, png
from PIL import Image

from grn.data import tars
from grn.data.sources import open_source
from grn.errors import BadInputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def greys(place: Path | str) -> list[int]:
    return [int(sample.image()[0, -1, 0]) for sample in open_source(place)]


def shards(folder: Path, count: int = 2) -> list[Path]:
    return [pack(folder / f"s-{n}.tar", [(f"{n}.png", png(n)), (f"{n}.txt", b"a grey")]) for n in range(count)]


def old(path: Path) -> Path:
    os.utime(path, (time.time() - 100,) * 2)
    return path


def test_shards_by_url_are_fetched_once(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    made = shards(tmp_path)
    for pattern in (f"file:{tmp_path}/s-{{0..1}}.tar", f"pipe:cat {tmp_path}/s-{{0..1}}.tar"):
        if pattern.startswith("file:"):
            pattern = pattern.replace("file:", "file://")
        assert greys(pattern) == [0, 1]
    for path in made:
        path.unlink()
    assert greys(f"pipe:cat {tmp_path}/s-{{0..1}}.tar") == [0, 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset opens http with curl")
def test_shards_come_from_a_server_and_a_broken_one_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("webdataset")
    (path,) = shards(tmp_path, 1)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            data = path.read_bytes()
            self.send_response(404 if "none" in self.path else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:700] if "cut" in self.path else data)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        assert greys(f"{place}/s-{{0,1}}.tar") == [0, 0]
        for name in ("none.tar", "cut.tar", "none.tar'; touch stolen; '"):
            with pytest.raises(BadInputError, match="cannot be fetched"):
                open_source(f"{place}/{name}")
        server.shutdown()
    assert greys(f"{place}/s-0.tar") == [0]  # from the cache
    assert len(list((cache / "shards").glob("*.tar"))) == 2
    assert not Path("stolen").exists()


def test_a_url_that_cannot_be_fetched_is_named(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("webdataset")
    for url in (f"pipe:cat {tmp_path}/none.tar", f"file://{tmp_path}/none.tar", "pipe:true", "nowhere://x.tar"):
        with pytest.raises(BadInputError, match=url[:12]):
            open_source(url)
    assert not list((cache / "shards").glob("*.tar"))


@pytest.mark.parametrize("end", [".tar", ".tgz", ".tar.gz"])
def test_a_copy_that_is_not_whole_is_not_kept(tmp_path: Path, cache: Path, end: str) -> None:
    pytest.importorskip("webdataset")
    (plain,) = shards(tmp_path, 1)
    shard, url = tmp_path / f"d{end}", f"file://{tmp_path}/d{end}"
    whole = plain.read_bytes() if end == ".tar" else gzip.compress(plain.read_bytes())
    cut = (
        (700, 1024) if end == ".tar" else (60, len(whole) - 9)
    )  # in a file and behind one; in the middle and near the end
    for part in (*(whole[:size] for size in cut), b"<html>not found</html>" * 99):
        shard.write_bytes(part)
        with pytest.raises(BadInputError, match=f"^{url}: "):
            open_source(url)
        assert not list((cache / "shards").iterdir())
    shard.write_bytes(whole)
    assert greys(url) == [0]
    shard.unlink()
    assert greys(url) == [0]


def test_rows_of_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["ant", "bee"]),
        }
    )
    rows = {"picture": [Image.open(io.BytesIO(png(n))) for n in (7, 9)], "caption": ["an ant", ""], "label": [0, 1]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "several"))
    monkeypatch.setattr("datasets.load_dataset", lambda name, split: made if (name, split) == ("o/n", "x") else None)
    for place in (tmp_path / "saved", "datasets:o/n:x", tmp_path / "several", f"datasets:{tmp_path}/several:train"):
        source = open_source(place)
        assert greys(place) == [7, 9]
        assert [(s.caption, s.label) for s in source] == [("an ant", 0), ("", 1)]
        assert source.classes == ("ant", "bee")
        assert source.labels().tolist() == [0, 1]
        assert source.captioned().tolist() == [True, False]
        assert str(source[1]) == f"{place}: 1"
    assert int(pickle.loads(pickle.dumps(source[1])).image()[0, -1, 0]) == 9
    with pytest.raises(BadInputError, match="several:val: cannot be opened"):
        open_source(f"datasets:{tmp_path}/several:val")
    named = made.remove_columns("label").add_column("label", ["bee", "ant"])
    named.save_to_disk(str(tmp_path / "named"))
    source = open_source(tmp_path / "named")
    assert (source.classes, [s.label for s in source], source.labels().tolist()) == (("ant", "bee"), [1, 0], [1, 0])
    odd = {
        "image": [{"bytes": png(5)}],
        "mask": [{"bytes": b"no picture"}],
        "label": [2**40],
        "captions": [["a", None]],
    }
    kinds = {"image": datasets.Image(), "mask": datasets.Image(), "label": datasets.Value("int64")}
    datasets.Dataset.from_dict(
        odd, features=datasets.Features(kinds | {"captions": datasets.List(datasets.Value("string"))})
    ).save_to_disk(str(tmp_path / "odd"))
    source = open_source(tmp_path / "odd")
    assert source.labels().tolist() == [source[0].label] == [2**31 - 1]
    for reading in (source[0].image, lambda: source[0].captions):
        with pytest.raises(BadInputError, match='odd: 0: "captions" of the JSON'):
            reading()
    made.select_columns("picture").save_to_disk(str(tmp_path / "pictures"))
    assert greys(tmp_path / "pictures") == [7, 9]
    without = datasets.Dataset.from_dict({"text": ["a"]})
    without.save_to_disk(str(tmp_path / "none"))
    with pytest.raises(BadInputError, match="no column holds images"):
        open_source(tmp_path / "none")


def test_a_place_is_indexed_once_and_anew_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(shards(tmp_path, 1)[0])
    read = tars.read_sides
    counted: list[str] = []
    monkeypatch.setattr(tars, "read_sides", lambda place, sides: counted.append(place) or read(place, sides))
    assert [greys(path) for _ in range(3)] == [[0]] * 3
    assert len(counted) == 1
    old(pack(path, [("9.png", png(5))]))
    assert greys(path) == greys(path) == [5]
    assert len(counted) == 2


def test_a_damaged_index_is_made_anew(tmp_path: Path, cache: Path) -> None:
    path = old(shards(tmp_path, 1)[0])
    assert greys(path) == [0]
    (kept,) = (cache / "indices").iterdir()
    data = kept.read_bytes()
    for damage in (b"", data[:30], data[:-1], data + b"x", b"\xff" * len(data)):
        kept.write_bytes(damage)
        assert greys(path) == [0]
        assert kept.read_bytes() == data


def test_places_that_cannot_be_kept_are_indexed_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(shards(tmp_path, 1)[0])
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "file"))
    assert greys(path) == [0]
    assert [s.caption for s in pickle.loads(pickle.dumps(open_source(path)))] == ["a grey"]
