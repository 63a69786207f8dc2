"""The frames of a source's samples for training: decoded once, then from a cache on disk."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from grn.data.frame_cache import FrameCache, Frames, make_room
from grn.data.samples import FilePart, Sample, clip_start
from grn.data.sources import Source
from grn.errors import BadInputError
from grn.files import cache_folder
from grn.media import READER_VERSION, square


@dataclass(frozen=True)
class FrameView:
    """What of a sample is read.

    square: scaled and cropped in the middle to so many pixels a side; None: as it is. frames, fps: of clips
    (`Sample.clip`); None: a picture.
    """

    square: int | None = None
    frames: int | None = None
    fps: float | None = None


class FrameReader:
    """Reads the frames uint8 [T, H, W, 3] of a source's samples as a view says; with a cache, decodes each once."""

    def __init__(self, source: Source, view: FrameView, cache: FrameCache | None = None) -> None:
        self.source, self.view, self.cache = source, view, cache

    def read(self, number: int, rng: np.random.Generator | None = None) -> Frames:
        """A sample's frames, of a clip from anywhere in it or, without `rng`, from its beginning. BadInputError if it
        cannot be read.
        """
        sample, view = self.source[number], self.view
        whole = self._whole(sample)
        if whole is None:
            if view.frames is not None:
                return sample.clip(view.frames, view.fps, rng, self._fitted)
            return self._fitted(sample.image())[None]
        if view.frames is None:
            return whole.copy()
        start = 0 if rng is None else clip_start(len(whole), view.frames, rng)
        part = whole[start : start + view.frames]
        missing = view.frames - len(part)
        return np.concatenate([part, part[-1:].repeat(missing, 0)]) if missing else part.copy()

    def _whole(self, sample: Sample) -> Frames | None:
        """All frames of a sample from the cache, into which they are put if need be; None where there is no room."""
        key = self._key(sample) if self.cache is not None else None
        if key is None:
            return None
        assert self.cache is not None
        found = self.cache.get(key)
        if found is None and self.cache.put(key, self._decoded(sample)):
            found = self.cache.get(key)
        return found

    def _key(self, sample: Sample) -> bytes | None:
        """What the decoded frames follow from: where the file is, when it was changed last, how it is read."""
        part = sample.read
        if not isinstance(part, FilePart):
            return None
        try:
            status = part.path.stat()
        except OSError:
            return None
        facts = (part.offset, part.size, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        text = f"{READER_VERSION} {self.view} {facts} ".encode() + os.fsencode(part.path.absolute())
        return hashlib.blake2b(text, digest_size=16).digest()

    def _fitted(self, frame: Frames) -> Frames:
        return frame if self.view.square is None else square(frame, self.view.square)

    def _decoded(self, sample: Sample) -> Iterator[Frames]:
        if self.view.frames is None:
            yield self._fitted(sample.image())
            return
        try:
            with sample.media(self.view.fps) as media:
                for frame in media:
                    yield self._fitted(frame)
        except BadInputError as error:
            raise sample.fault(error) from error


def cached_readers(sources: Sequence[Source], views: Sequence[FrameView], limit: int) -> list[FrameReader]:
    """A reader for each source and its view; all caches together hold at most `limit` bytes, 0: none."""
    if limit <= 0:
        return [FrameReader(source, view) for source, view in zip(sources, views, strict=True)]
    base = cache_folder("frames", make=True)
    folders = [base / _name(source, view) for source, view in zip(sources, views, strict=True)]
    make_room(base, limit, folders)
    return [
        FrameReader(source, view, FrameCache(folder, limit))
        for source, view, folder in zip(sources, views, folders, strict=True)
    ]


def _name(source: Source, view: FrameView) -> str:
    place = source[0].read.path if isinstance(source[0].read, FilePart) else ""
    return hashlib.sha256(f"{READER_VERSION} {view} {place}".encode(errors="surrogateescape")).hexdigest()[:16]
