"""Files and folders that are whole or not there; names, locks and the cache that several processes share."""

import contextlib
import errno
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from grn.errors import BusyError, EnvironmentFaultError, UsageError
from grn.files import atomic_folder, atomic_path, cache_folder, display, locked, numbered, sha256
from grn.media import write_image


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


def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    resource = pytest.importorskip("resource", reason="file size limits are POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(EnvironmentFaultError, match="cannot be written"):
            write_image(target, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
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


# Checks, folders, names, locks


def test_what_a_check_refuses_does_not_replace_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")

    def whole(path: Path) -> None:
        if path.stat().st_size != 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(EnvironmentFaultError, match="free some space"), atomic_path(target, whole) as temporary:
        temporary.write_bytes(b"ne")
    assert target.read_bytes() == b"old"
    with atomic_path(target, whole) as temporary:
        temporary.write_bytes(b"new!")
    assert target.read_bytes() == b"new!"


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_folder_appears_whole_or_not_at_all(error: type[BaseException] | None, tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_folder(tmp_path / "new") as aside:
            (aside / "inner").mkdir()
            (aside / "inner" / "a").write_bytes(b"1")
            assert not (tmp_path / "new").exists()
            if error:
                raise error

    if error:
        with pytest.raises(error):
            fill()
        assert contents(tmp_path) == []
    else:
        fill()
        assert contents(tmp_path) == ["new"]
        assert (tmp_path / "new" / "inner" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("same", [True, False])
def test_a_folder_that_came_first_is_kept(same: bool, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "first").touch()
    outcome = contextlib.nullcontext() if same else pytest.raises(EnvironmentFaultError, match="cannot be written")
    with outcome, atomic_folder(tmp_path / "new", lambda folder: same) as aside:
        (aside / "second").touch()
    assert contents(tmp_path) == ["new"]
    assert contents(tmp_path / "new") == ["first"]


def test_what_a_former_life_of_the_same_number_left_is_swept(tmp_path: Path) -> None:
    """A container that starts again has the host name and the process numbers that it had before."""
    with atomic_path(tmp_path / "a.bin") as temporary:
        former = temporary.with_name(temporary.name.replace(".part", "x.part"))
        folder = former.with_suffix(".d")
        former.touch()
        folder.mkdir()
        for path in (former, folder):
            os.utime(path, (1, 1))
    with atomic_path(tmp_path / "b.bin"):
        pass
    assert contents(tmp_path) == ["a.bin", "b.bin"]


def test_a_numbered_name_is_given_once(tmp_path: Path) -> None:
    names = [numbered(tmp_path / "cat.png") for _ in range(3)]
    assert [path.name for path in names] == ["cat.png", "cat-2.png", "cat-3.png"]
    with atomic_path(names[1]):
        pass
    for path in (names[0], names[2]):
        assert not path.exists()
        with atomic_path(path):
            pass
    assert contents(tmp_path) == ["cat-2.png", "cat-3.png", "cat.png"]
    assert numbered(tmp_path / "cat.png").name == "cat-4.png"


WRITER = """
import sys
from pathlib import Path
from grn.files import atomic_path, numbered
for number in range(int(sys.argv[2])):
    name = numbered(Path(sys.argv[1]) / "cat.txt")
    with atomic_path(name) as temporary:
        temporary.write_text(f"{sys.argv[3]} {number}")
"""


def test_of_many_writers_to_one_name_none_loses_anything(tmp_path: Path) -> None:
    writers, each = 12, 10
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(each), str(writer)]) for writer in range(writers)
    ]
    assert [process.wait() for process in running] == [0] * writers
    found = sorted(path.read_text() for path in tmp_path.glob("cat*.txt"))
    assert found == sorted(f"{writer} {number}" for writer in range(writers) for number in range(each))
    assert contents(tmp_path) == sorted(path.name for path in tmp_path.glob("cat*.txt"))


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    script = "import os, sys\nfrom pathlib import Path\nfrom grn.files import numbered\n"
    script += "print(numbered(Path(sys.argv[1])).name, flush=True)\nos.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "cat.png"], check=False, capture_output=True)
    assert done.stdout.split() == [b"cat.png"]
    assert numbered(tmp_path / "cat.png").name == "cat.png"


def test_a_place_without_a_folder_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"its folder does not exist"):
        numbered(tmp_path / "deep" / "cat.png")


HOLDER = """
import sys
from pathlib import Path
from grn.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, tmp_path / "lock"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_lock_that_is_held_names_its_holder(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    for _ in range(2):  # the first try has not spoilt what the file says
        with pytest.raises(BusyError) as caught, locked(tmp_path / "lock"):
            pass
        assert f"lock: in use by process {holder.pid} on {socket.gethostname()}; " in str(caught.value)
        assert caught.value.owner == f"process {holder.pid} on {socket.gethostname()}"


def test_a_lock_ends_with_its_process(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    "said",
    ["", f"{socket.gethostname()} {os.getpid()}", f"{socket.gethostname()} 1", "\xff\n"],
    ids=["empty", "this", "init", "no-text"],
)
def test_what_a_lock_file_says_locks_nothing(said: str, tmp_path: Path) -> None:
    """An empty file after a full disk, or this very host and process number after a container has started again."""
    (tmp_path / "lock").write_text(said)
    with locked(tmp_path / "lock"):
        pass


def test_a_lock_can_be_waited_for(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    threading.Timer(0.3, lambda: holder.stdin and holder.stdin.close()).start()
    with locked(tmp_path / "lock", wait=True):
        assert holder.wait() == 0


COUNTER = """
import sys
from pathlib import Path
from grn.files import locked
for _ in range(20):
    with locked(Path(sys.argv[1]) / "lock", wait=True):
        count = Path(sys.argv[1]) / "count"
        count.write_text(str(int(count.read_text()) + 1))
"""


def test_of_many_that_lock_only_one_is_inside(tmp_path: Path) -> None:
    """A lock file is removed when it is let go of, and made again: no two are ever inside for that."""
    (tmp_path / "count").write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", COUNTER, tmp_path]) for _ in range(6)]
    assert [process.wait() for process in running] == [0] * 6
    assert (tmp_path / "count").read_text() == "120"


# The cache and digests


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "home/.cache/grn/x"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/grn/x"),
        ({"XDG_CACHE_HOME": "xdg", "GRN_CACHE": "mine"}, "mine/x"),
        ({"GRN_HOME": "old"}, "old/x"),
        ({"GRN_HOME": "old", "GRN_CACHE": "mine"}, "mine/x"),
    ],
)
def test_one_folder_holds_what_can_be_made_again(
    variables: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "GRN_CACHE", "GRN_HOME"):
        monkeypatch.delenv(name, raising=False)
        if name in variables:
            monkeypatch.setenv(name, str(tmp_path / variables[name]))
    assert cache_folder("x") == tmp_path / folder
    assert not cache_folder("x").exists()
    assert cache_folder("x", make=True).is_dir()


def test_the_old_name_of_the_cache_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GRN_CACHE", raising=False)
    monkeypatch.setenv("GRN_HOME", str(tmp_path / "only here"))
    for _ in range(3):
        cache_folder("x")
    assert [record.message for record in caplog.records].count(
        f"GRN_HOME is called GRN_CACHE now: taking {tmp_path / 'only here'} for it"
    ) == 1


def test_digests(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 5)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    for length in (0, 7, 1 << 20, len(data)):
        assert sha256(tmp_path / "a", length) == hashlib.sha256(data[:length]).hexdigest()
