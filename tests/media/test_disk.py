"""A disk that fills up, at any place of any format: the older file stays, and nothing beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import noise

from grn.errors import EnvironmentFaultError
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, write_image

resource = pytest.importorskip("resource")
signal = pytest.importorskip("signal")


def limited(limit: int) -> None:
    """Files of this process end at so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture(autouse=True)
def _files_may_be_short() -> Iterator[None]:
    # Python's own writes then raise; programs that it starts end by the signal.
    before, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    yield
    limited(limit)
    signal.signal(signal.SIGXFSZ, before)


def filled_up(path: Path, write: Any) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    write(path)
    whole = path.stat().st_size
    for limit in (0, 1, whole // 3, whole * 2 // 3, whole - 100, whole - 1):
        path.write_bytes(b"old")
        limited(limit)
        try:
            with pytest.raises(EnvironmentFaultError):
                write(path)
        finally:
            limited(unlimited)
        assert path.read_bytes() == b"old", f"{limit} of {whole} bytes"
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_stills(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    filled_up(tmp_path / f"a.{suffix}", lambda path: write_image(path, noise(120, 90)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", WRITE_CLIP_SUFFIXES)
def test_clips(tmp_path: Path, suffix: str) -> None:
    def write_clip(path: Path) -> None:
        with VideoWriter(path, 96, 64, 8) as writer:
            for index in range(4):
                writer.write(np.roll(noise(96, 64), index * 7, 1))

    filled_up(tmp_path / f"a{suffix}", write_clip)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_stream_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("wb") as stream:
        write_image(stream, noise(120, 90))
