"""Shards by URL: each is fetched once, into the cache folder.

An exact order needs any sample at any time, so that shards have to lie here; to train on more than a disk holds, tokenize
them first: codes take a hundredth of the space.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from grn.data.archives import COMPRESSED
from grn.errors import BadInputError, EnvironmentFaultError, GrnError
from grn.files import atomic_path, cache_folder, display, locked

logger = logging.getLogger("grn.data")


def is_url(path: str) -> bool:
    """Whether a path is a URL, or a command whose output is a shard."""
    return "://" in path or path.startswith("pipe:")


def fetched(url: str, check: Callable[[Path], object]) -> Path:
    """The copy of a shard: of http(s), s3, gs, hf, ftp, file, or "pipe:" and a shell command, as webdataset opens them.

    A URL stands for one content: it is not fetched again. check: raises BadInputError for a copy that is not whole, which no
    protocol may notice, and which is not kept. Raises BadInputError where it cannot be had.
    """
    try:
        from webdataset.gopen import gopen
    except ImportError as error:
        raise EnvironmentFaultError(f"{display(url)}: URLs need the package webdataset; install grn[data]") from error
    suffix = ".tgz" if url.lower().endswith(COMPRESSED) else ".tar"
    path = cache_folder("shards", make=True) / (hashlib.blake2b(url.encode(), digest_size=16).hexdigest() + suffix)

    def whole(copy: Path) -> None:
        try:
            check(copy)
        except BadInputError as error:
            raise BadInputError(str(error).replace(display(copy), display(url))) from error

    with locked(path.with_name(f"{path.name}.lock"), wait=True):
        if path.is_file():
            return path
        logger.info("fetching %s", display(url))
        with atomic_path(path, whole) as aside:
            try:
                with gopen(url, "rb") as stream, aside.open("wb") as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
            except GrnError:
                raise
            except Exception as error:  # webdataset and what it calls raise anything
                raise BadInputError(f"{display(url)}: cannot be fetched ({display(str(error))[:200]})") from error
            if not aside.stat().st_size:
                raise BadInputError(f"{display(url)}: is empty; check the address")
    return path
