"""Output files that are either whole or not there.

Everything that grn writes goes to a temporary file beside its target first, is flushed to the disk and then renamed
over the target, so an interrupted run leaves the old file (or none) and never half of a new one.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from grn.errors import EnvironmentFaultError, UsageError

_PREFIX = ".grn-"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file with the suffix of `path`, in its folder; renamed to `path` when the block ends well,
    removed when it does not.

    A symlink at `path` is replaced itself and its target left alone. Raises UsageError where `path` is a folder or a
    device, and EnvironmentFaultError where the folder is missing or the disk refuses (OSErrors of the block included).
    """
    _refuse_special(path)
    owner = f"{_PREFIX}{_host()}-{os.getpid()}-"
    # A hash instead of the name keeps the temporary name short and free of odd characters, whatever the target is
    # called.
    target = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    temporary = path.parent / f"{owner}{secrets.token_hex(4)}-{target}.part{path.suffix}"
    try:
        _sweep(path.parent)
        temporary.open("xb").close()
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _explain(path, error) from error
    finally:
        # A failure to tidy up must not hide the error that led here.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def numbered(path: Path) -> Path:
    """`path` where that name is free, else the first free one of `stem-2.ext`, `stem-3.ext`, ... A dangling symlink
    counts as taken.
    """
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def display(path: Path | str) -> str:
    """The name of a file as text for a message: one line, control characters and undecodable bytes escaped."""
    text = str(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


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


def _sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left in the folder; other machines' files may still be growing."""
    own = f"{_PREFIX}{_host()}-"
    for leftover in folder.glob(f"{own}*.part*"):
        pid = leftover.name[len(own) :].split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end the process there, so leftovers stay
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # The file is complete by now; some file systems cannot flush a folder, and Windows cannot open one.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explain(path: Path, error: OSError) -> EnvironmentFaultError:
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
