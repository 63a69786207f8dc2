"""Reconstructed frames against the original, as they pass."""

import math
from collections.abc import Callable, Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grn.codes import PackedCodes
from grn.errors import BadInputError
from grn.evaluation.metrics import psnr, ssim
from grn.files import is_folder
from grn.media import READ_SUFFIXES, open_media, to_pixels
from grn_cli.paths import Item


class Comparison:
    """PSNR and SSIM against the original, frame by frame as the frames pass; means over the frames."""

    def __init__(self, reference: Path, codes: PackedCodes, item: Item, start: float) -> None:
        """reference: the original, or the folder that has it. Raises BadInputError where it has another size."""
        path = _original(reference, item) if is_folder(reference) else reference
        self._media = open_media(path, start=start)
        if codes.fps and self._media.fps and not math.isclose(codes.fps, self._media.fps, rel_tol=1e-3):
            self._media.close()
            self._media = open_media(path, start=start, fps=codes.fps)  # as `grn tokenize --fps` did
        self._expected = codes.frames
        found, expected = (self._media.width, self._media.height), (codes.width, codes.height)
        if found != expected:
            self._media.close()
            raise BadInputError(
                f"{path}: is {found[0]}x{found[1]} (expected {expected[0]}x{expected[1]}, as in {item.name}); "
                "give the picture that was tokenized"
            )
        self._psnr: list[float] = []
        self._ssim: list[float] = []

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, *error: object) -> None:
        self._media.close()

    def along(self, frames: Iterable[NDArray[np.uint8]], warn: Callable[[str], None]) -> Iterator[Any]:
        """Pass the frames on, each measured. BadInputError where the original is too short.

        A longer original is one that --duration cut: what follows the codes' frames is not compared, and `warn` told.
        """
        originals = iter(self._media)
        for frame in frames:
            original = next(originals, None)
            if original is None:
                raise BadInputError(
                    f"{self._media.name}: has {len(self._psnr)} frames and the codes have {self._expected}; "
                    "give the clip that was tokenized"
                )
            pair = [to_pixels(np.asarray(picture)[None])[:, :, 0] for picture in (frame, original)]
            self._psnr.append(float(psnr(*pair)))
            self._ssim.append(float(ssim(*pair)))
            yield frame
        if next(originals, None) is not None:
            warn(
                f"{self._media.name}: has more than the {self._expected} frames of the codes; the rest is not compared"
            )

    def text(self) -> str:
        """Describe the comparison for people."""
        return f"PSNR {_mean(self._psnr):.2f} dB, SSIM {_mean(self._ssim):.4f}"

    def record(self) -> dict[str, float | None]:
        """Describe the comparison for programs; JSON has no infinity, so equal pictures have a PSNR of null."""
        found = {"psnr": _mean(self._psnr), "ssim": _mean(self._ssim)}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _original(folder: Path, item: Item) -> Path:
    """The file of that folder whose codes an item is: of the same place and name, but for the suffix."""
    place = folder / item.place.parent
    found = [
        path for path in sorted(place.glob(f"{escape(item.place.stem)}.*")) if path.suffix.lower() in READ_SUFFIXES
    ]
    if len(found) != 1:
        many = f"has {len(found)} files" if found else "has no picture or clip"
        raise BadInputError(f"{place}: {many} named {item.place.stem}, which {item.name} would be compared with")
    return found[0]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
