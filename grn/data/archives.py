"""Compressed tars as plain ones: samples are read in place, which a compressed stream does not allow."""

import gzip
import hashlib
import os
import shutil
import zlib
from pathlib import Path
from typing import BinaryIO

from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import atomic_path, display

COMPRESSED = (".tgz", ".tar.gz")


def plain_tar(path: Path) -> Path:
    """The tar itself, or for a .tgz its unpacked content, made once in the cache (GRN_CACHE, else ~/.cache/grn).

    Raises BadInputError for a damaged archive and EnvironmentFaultError where the cache cannot be written.
    """
    if not path.name.endswith(COMPRESSED):
        return path
    folder = Path(os.environ.get("GRN_CACHE") or Path.home() / ".cache" / "grn") / "tars"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be made ({error.strerror or error}); set GRN_CACHE to a folder with space"
        ) from error
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        plain = folder / f"{digest.hexdigest()[:32]}.tar"
        if not plain.is_file():
            with atomic_path(plain) as aside, aside.open("wb") as out, gzip.open(path) as archive:
                _copy(path, archive, out)
    except OSError as error:
        raise BadInputError(
            f"{display(path)}: cannot be read ({error.strerror or error}); restore the archive"
        ) from error
    return plain


def _copy(path: Path, archive: gzip.GzipFile, out: BinaryIO) -> None:
    try:
        shutil.copyfileobj(archive, out, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(f"{display(path)}: damaged or cut off ({error}); get it again") from error
