import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grn.errors import EnvironmentFaultError, UsageError
from grn.files import atomic_path, display, numbered


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.suffix == ".bin"
    assert target.read_bytes() == b"new"
    assert contents(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"old"
    assert contents(tmp_path) == ["out.bin"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(EnvironmentFaultError, match=r"out\.bin: cannot be written .*; free some space"),
        atomic_path(tmp_path / "out.bin"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert contents(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from grn.errors import EnvironmentFaultError
from grn.media import write_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_image(Path(sys.argv[1]), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
except EnvironmentFaultError as error:
    sys.exit(5 if "cannot be written" in str(error) else 1)
"""
    done = subprocess.run([sys.executable, "-c", script, target], check=False)
    assert done.returncode == 5
    assert target.read_bytes() == b"old"
    assert contents(tmp_path) == ["out.png"]


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symlink_is_replaced_and_its_target_left_alone(tmp_path: Path, dangling: bool) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    if not dangling:
        victim.write_bytes(b"precious")
    link.symlink_to(victim)
    with atomic_path(link) as temporary:
        temporary.write_bytes(b"new")
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert victim.exists() is not dangling
    assert dangling or victim.read_bytes() == b"precious"


def test_folders_devices_and_links_to_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"), atomic_path(tmp_path):
        pass
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    with pytest.raises(UsageError, match="not a regular file"), atomic_path(link):
        pass
    assert link.is_symlink()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"create .*deep first"), atomic_path(tmp_path / "deep" / "out.png"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from grn.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.bin"], check=False)
    assert len(contents(tmp_path)) == 1
    with atomic_path(tmp_path / "mine.bin") as mine:
        mine.write_bytes(b"1")
        # Another writer of a living process must not be swept.
        with atomic_path(tmp_path / "other.bin") as other:
            other.write_bytes(b"2")
        assert mine.exists()
    assert contents(tmp_path) == ["mine.bin", "other.bin"]


def test_long_and_odd_names(tmp_path: Path) -> None:
    for name in ("x" * 250, "-x.png", "a\nb\x1b[31m.png", "ünï.png"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_bytes(b"1")
        assert (tmp_path / name).exists()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a.bin"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_numbered_finds_the_next_free_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    assert numbered(path) == path
    path.touch()
    assert numbered(path) == tmp_path / "cat-2.png"
    (tmp_path / "cat-2.png").symlink_to(tmp_path / "nowhere")
    assert numbered(path) == tmp_path / "cat-3.png"


def test_display_is_one_harmless_line() -> None:
    assert display("a\nb\x1b]52;c;\u202e.png") == "a\\nb\\x1b]52;c;\\u202e.png"
    assert display(os.fsdecode(b"\xff.png")) == "\\udcff.png"
    assert display("übel.png") == "übel.png"
