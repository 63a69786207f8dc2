"""Compressed tars as plain ones: samples are read in place, which a compressed stream does not allow."""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from grn.digests import digest_of
from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import atomic_path, cache_folder, display, locked

COMPRESSED = (".tgz", ".tar.gz")
# Pictures hardly shrink and texts to a tenth; what unpacks to more than this is made to fill a disk.
_MOST_TIMES = 100
_ALWAYS = 64 << 20  # bytes; small ones may be of anything
_LEFT_FREE = 1 << 30  # bytes that are left on the disk of the cache
_BLOCK = 1 << 20


def plain_tar(path: Path) -> Path:
    """The tar itself, or for a .tgz its unpacked content, made once in the cache.

    Raises BadInputError for a damaged archive or one that unpacks to more than 100 times its size, and
    EnvironmentFaultError where the cache cannot be written or its disk would be full.
    """
    if not path.name.lower().endswith(COMPRESSED):
        return path
    folder = cache_folder("tars", make=True)
    try:
        plain = folder / f"{digest_of(path).hex()[:32]}.tar"
        if plain.is_file():
            return plain
        # All processes of a run come here at once, and each would fill the disk with a copy.
        with locked(plain.with_name(f"{plain.name}.lock"), wait=True):
            if not plain.is_file():
                with atomic_path(plain) as aside, aside.open("wb") as out, gzip.open(path) as archive:
                    _copy(path, archive, out, plain.parent)
    except OSError as error:
        raise BadInputError(
            f"{display(path)}: cannot be read ({error.strerror or error}); restore the archive"
        ) from error
    return plain


def _copy(path: Path, archive: gzip.GzipFile, out: BinaryIO, folder: Path) -> None:
    limit = max(_ALWAYS, _MOST_TIMES * path.stat().st_size)
    try:
        block = archive.read(_BLOCK)
        _check_header(path, block)
        while block:
            if out.tell() + len(block) > limit:
                raise BadInputError(
                    f"{display(path)}: unpacks to more than {_MOST_TIMES} times its size, which no set of pictures does; "
                    "give it unpacked if it is one"
                )
            free = shutil.disk_usage(folder).free
            if free < _LEFT_FREE:
                raise EnvironmentFaultError(
                    f"{display(folder)}: only {free >> 20} MiB are free, too few to unpack {display(path)}; "
                    "free some space, or set GRN_CACHE to a folder with more"
                )
            out.write(block)
            block = archive.read(_BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(f"{display(path)}: damaged or cut off ({error}); get it again") from error


def _check_header(path: Path, block: bytes) -> None:
    """Refuse what is no tar before anything of it is written."""
    header = block[: tarfile.BLOCKSIZE]
    if header and not any(header):
        return  # an empty tar
    try:
        tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError as error:
        raise BadInputError(f"{display(path)}: holds no tar ({error}); give a packed WebDataset tar") from error
