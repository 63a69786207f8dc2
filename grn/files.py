"""Files and folders that are either whole or not there; names, digests and locks that several processes agree on.

Everything that grn writes goes to a temporary file or folder beside its target first, is flushed to the disk and then
renamed over the target, so an interrupted run leaves the old one (or none) and never half of a new one.
"""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from grn.errors import BusyError, EnvironmentFaultError, UsageError

_PREFIX = ".grn-"
_CLAIM_SECONDS = 3600  # older claims are looked at, and swept if no process holds them
_STARTED = time.time()
_claims: dict[Path, FileLock] = {}  # names that `numbered` has given out and that are not written yet
_LONGEST = 255  # bytes of a name, on most file systems
_log = logging.getLogger("grn")


@contextlib.contextmanager
def atomic_path(path: Path, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield a temporary file with the suffix of `path`, in its folder; renamed to `path` when the block ends well,
    removed when it does not.

    check: called with the finished file before it is renamed; what it raises counts as the block's. A symlink at `path`
    is replaced itself and its target left alone. Raises UsageError where `path` is a folder, a device or too long a name, and
    EnvironmentFaultError where the folder is missing or the disk refuses (OSErrors of block and check included).
    """
    check_name(path)
    _refuse_special(path)
    temporary = _temporary(path)
    try:
        _sweep(path.parent)
        temporary.open("xb").close()
        yield temporary
        _flush(temporary)
        if check is not None:
            check(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        # A failure to tidy up must not hide the error that led here.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _give_up(path)


def check_writable(path: Path, folder: bool = False) -> None:
    """Raise now what `atomic_path` would raise before its block, for a file that is to be written after long work.

    folder: of any file in this folder, which need not be there yet. Leaves nothing behind.
    """
    check_name(path)
    there = (
        next((one for one in (path, *path.absolute().parents) if os.path.lexists(one)), path) if folder else path.parent
    )
    if folder and not is_folder(there):
        raise UsageError(f"{display(there)}: is a file (expected a folder); choose another name")
    if not folder:
        _refuse_special(path)
    temporary = _temporary(there / path.name)
    try:
        temporary.open("xb").close()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, same: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """Yield a new folder beside `path`; renamed to `path` when the block ends well, removed when it does not.

    same: whether a folder that another process has put at `path` meanwhile is as good; it is kept then. Raises
    EnvironmentFaultError where `path` is taken otherwise, or the disk refuses (OSErrors of the block included), UsageError
    where it is too long a name.
    """
    check_name(path)
    aside = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        aside.mkdir()
        yield aside
        for entry in sorted(aside.rglob("*"), reverse=True):
            _flush_folder(entry) if entry.is_dir() else _flush(entry)
        _flush_folder(aside)
        try:
            aside.rename(path)
        except OSError:
            if not same(path):
                raise
        _flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def numbered(path: Path) -> Path:
    """`path` where that name is free, else the first free one of `stem-2.ext`, `stem-3.ext`, ..., a long stem cut.

    The name is claimed: no other call gets it, of whatever process, until `atomic_path` has written it or this process
    has ended. A dangling symlink counts as taken. EnvironmentFaultError where nothing can be written.
    """
    candidate, number = path, 1
    while not _claim(candidate):
        number += 1
        candidate = path.with_name(fitting(path.stem, f"-{number}{path.suffix}"))
    return candidate


def fitting(stem: str, tail: str) -> str:
    """A name of both that file systems take: the stem is cut where it is too long for that."""
    while stem and len(os.fsencode(stem + tail)) > _LONGEST:
        stem = stem[:-1]
    return stem + tail


def check_name(path: Path) -> None:
    """Raises UsageError where a name in the path is longer than the file system takes, for a file that is to be made."""
    try:
        path.lstat()
        return
    except OSError as error:
        too_long = error.errno == errno.ENAMETOOLONG
    # What is not there yet may hide what is behind it, so each name is tried in the folder that is.
    there = next((folder for folder in path.absolute().parents if is_folder(folder)), path.absolute().parent)
    for name in path.absolute().relative_to(there).parts:
        try:
            (there / name).lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG or len(name) > _LONGEST:
                raise UsageError(
                    f"{display(name[:40])}...: this name is too long ({len(os.fsencode(name))} bytes, about {_LONGEST} are the most); "
                    "give a shorter one"
                ) from error
    if too_long:
        raise UsageError(f"{display(path)[:40]}...: the path is too long; write to a folder that is less deep")


def is_file(path: Path) -> bool:
    """Whether there is such a file; also of a name that is too long for one, where pathlib raises OSError."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; also of a name that is too long for one, where pathlib raises OSError."""
    return os.path.isdir(path)  # noqa: PTH112


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`: one process at a time, on one machine or on several that share the folder.

    It is the kernel's lock, so it ends with its process however that ends; what the file says is for people only.
    wait: until it is free; else BusyError where another process has it. EnvironmentFaultError where it cannot be made.
    """
    try:
        lock = _acquire(path, wait)
    except Timeout as error:
        owner = _owner(path)
        message = f"{display(path)}: in use by {owner or 'another process'}; wait until that has ended, or end it"
        raise BusyError(message, path, owner) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        if not isinstance(lock, SoftFileLock):  # which file systems without locks get; it writes its file itself
            with contextlib.suppress(OSError):  # a full disk, or Windows, where a locked file is its holder's alone
                path.write_text(f"{socket.gethostname()} {os.getpid()}\n")
        yield
    finally:
        _remove(path, lock)


def sha256(path: Path, length: int | None = None) -> str:
    """Hex digest of a file's bytes, or of the first `length`. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size if length is None else length
        while left > 0 and (block := file.read(min(1 << 20, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def cache_folder(part: str, make: bool = False) -> Path:
    """A folder of what can be made again: $GRN_CACHE/part, else $XDG_CACHE_HOME/grn/part, else ~/.cache/grn/part.

    make: it is made if it is missing; EnvironmentFaultError where it cannot be.
    """
    base = os.environ.get("GRN_CACHE")
    if not base and (base := os.environ.get("GRN_HOME")):
        _say_renamed(base)
    if not base:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "grn")
    folder = Path(base).expanduser() / part
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be made ({error.strerror or error}); set GRN_CACHE to a folder with space"
        ) from error
    return folder


def display(path: Path | str) -> str:
    """The name of a file as text for a message: one line, control characters and undecodable bytes escaped."""
    text = str(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cannot_write(path: Path, error: OSError) -> EnvironmentFaultError:
    """What to raise for an OSError while `path` was written."""
    if error.errno == errno.ENOENT and not path.parent.exists():
        return EnvironmentFaultError(f"{display(path)}: its folder does not exist; create {display(path.parent)} first")
    hint = {
        errno.ENOSPC: "free some space, or write elsewhere",
        errno.EDQUOT: "free some space, or write elsewhere",
        errno.EFBIG: "raise the file size limit, or write elsewhere",
        errno.EACCES: "check the folder's permissions, or write elsewhere",
        errno.EROFS: "write elsewhere",
    }.get(error.errno or 0, "check the disk, or write elsewhere")
    return EnvironmentFaultError(f"{display(path)}: cannot be written ({error.strerror or error}); {hint}")


@cache
def _say_renamed(base: str) -> None:
    _log.warning("GRN_HOME is called GRN_CACHE now: taking %s for it", display(base))


def _temporary(path: Path) -> Path:
    # A hash instead of the name keeps the temporary name short and free of odd characters, whatever the target is
    # called.
    return path.parent / f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}-{_short(path)}.part{path.suffix}"


def _short(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _refuse_special(path: Path) -> None:
    try:
        # Following the link catches /dev/stdout and the like: replacing that link would break the machine for
        # everybody.
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"{display(path)}: is a folder; give the name of a file")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{display(path)}: is not a regular file; write to a file or to a stream")


def _claim(path: Path) -> bool:
    """Take a free name, if it still is free, until `_give_up` or the end of the process."""
    if os.path.lexists(path):
        return False
    try:
        lock = _acquire(_claim_file(path), False)
    except Timeout:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    if os.path.lexists(path):  # written between the two looks
        _remove(_claim_file(path), lock)
        return False
    _claims[path.absolute()] = lock
    return True


def _acquire(path: Path, wait: bool) -> FileLock:
    """The lock of a file, held. Timeout where another has it; OSError."""
    if not path.parent.is_dir():  # the library would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    lock = FileLock(path, thread_local=False)
    lock.acquire(blocking=wait)
    return lock


def _claim_file(path: Path) -> Path:
    return path.parent / f"{_PREFIX}{_short(path)}.claim"


def _give_up(path: Path) -> None:
    lock = _claims.pop(path.absolute(), None)
    if lock is not None:
        _remove(_claim_file(path), lock)


def _remove(path: Path, lock: FileLock) -> None:
    """Remove a lock file and let go of it. Who has opened it meanwhile sees, once locked, that it has no name any more."""
    with contextlib.suppress(OSError):  # Windows removes no open file; the next holder does
        if not isinstance(lock, SoftFileLock):
            path.unlink(missing_ok=True)
    lock.release()


def _owner(path: Path) -> str:
    try:
        found = path.read_text(errors="replace").split()
    except OSError:
        return ""
    return f"process {found[1][:20]} on {display(found[0])[:80]}" if len(found) == 2 else ""


def _sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left in the folder; other machines' files may still be growing."""
    own = f"{_PREFIX}{_host()}-"
    for leftover in folder.glob(f"{own}*.part*"):
        pid = leftover.name[len(own) :].split("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and not _may_write(int(pid), leftover):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for claim in folder.glob(f"{_PREFIX}*.claim"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - claim.stat().st_mtime > _CLAIM_SECONDS:
                _remove(claim, _acquire(claim, False))


def _may_write(pid: int, leftover: Path) -> bool:
    """Whether a process of this number may be writing the file."""
    if pid == os.getpid():  # a restarted container has the same name and numbers as before
        return leftover.stat().st_mtime >= _STARTED
    if os.name == "nt":
        return True  # signal 0 would end the process there, so leftovers stay
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # The files are complete by now; some file systems cannot flush a folder, and Windows cannot open one.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
