"""The picture or clip that a result of `grn generate` starts from."""

import hashlib
import logging
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from grn import editing
from grn.errors import BadInputError, UsageError
from grn.files import is_folder
from grn.media import fit, open_media, read_image
from grn.pipeline import Pipeline
from grn.refine.known import Known
from grn_cli.options.generate import Generate

_STRENGTH = 0.6
_WHITE = 128  # of the mask's grey levels
_ROUNDING = 0.01  # of a side: so much is lost where the asked shape is brought to whole tokens
_log = logging.getLogger("grn")


@dataclass(frozen=True)
class Start:
    """What the result starts from, by the options of the same names."""

    image: Path | None = None
    continued: Path | None = None
    init: Path | None = None
    strength: float | None = None
    mask: Path | None = None

    @classmethod
    def of(cls, options: Generate) -> "Start":
        """Raises UsageError for options that contradict each other."""
        made = cls(**{one.name: getattr(options, one.name) for one in fields(cls)})
        given = [name for name in made.files() if name != "--mask"]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: a result starts from one of them; give one")
        for name, value in (("--strength", made.strength), ("--mask", made.mask)):
            if value is not None and made.init is None:
                raise UsageError(f"{name}: says how a picture is redrawn; give the picture with --init")
        if made.strength is not None and not 0 < made.strength <= 1:
            raise UsageError(f"--strength {made.strength:g} is out of range (expected more than 0, at most 1)")
        return made

    @property
    def clip(self) -> bool:
        """Whether only a clip can start so."""
        return self.image is not None or self.continued is not None

    @property
    def effective_strength(self) -> float:
        """What --strength is, or stands at."""
        return self.strength if self.strength is not None else 1.0 if self.mask else _STRENGTH

    def files(self) -> dict[str, Path]:
        """The files given, by their options."""
        named = {"--image": self.image, "--continue": self.continued, "--init": self.init, "--mask": self.mask}
        return {name: path for name, path in named.items() if path is not None}

    def known(self, pipeline: Pipeline, size: tuple[int, ...]) -> Known | None:
        """Read the files at the size that is drawn, (frames, height, width). Raises BadInputError or UsageError."""
        length, shown = size[0], (size[2], size[1])
        try:
            if self.init is not None:
                picture, original = _read(self.init, shown)
                mask = self._mask(shown, original) if self.mask else None
                known = editing.refined_picture(pipeline, picture, self.effective_strength, mask)
                _say_cropped(self.init, original, shown)
                return known
            if self.image is not None:
                picture = read_image(self.image)
                known = editing.animated_picture(pipeline, picture, length, shown[::-1])
                _say_cropped(self.image, (picture.shape[1], picture.shape[0]), shown)
                return known
            if self.continued is not None:
                with open_media(self.continued) as media:
                    if media.kind == "image":
                        raise BadInputError(f"{self.continued}: is a picture (expected a clip); give it with --image")
                    own = media.width, media.height
                with open_media(self.continued, size=shown, fps=pipeline.fps) as media:
                    known = editing.continued_clip(pipeline, media, length)
                _say_cropped(self.continued, own, shown)
                return known
        except UsageError as error:
            raise UsageError(f"{', '.join(self.files())}: {error}") from error
        return None

    def _mask(self, shown: tuple[int, int], original: tuple[int, int]) -> NDArray[np.bool_]:
        assert self.mask is not None
        # What is clear in it, as around strokes on a layer of their own, is not marked.
        marked, found = _read(self.mask, shown, background="black")
        if found != original:
            raise BadInputError(
                f"{self.mask}: is {found[0]}x{found[1]} (expected {original[0]}x{original[1]}, as "
                f"{self.init}); give a mask of the picture's size"
            )
        white: NDArray[np.bool_] = marked.mean(2) >= _WHITE
        return white

    def record(self) -> dict[str, Any] | None:
        """What a result says that it started from; --like asks for the same files again."""
        if not self.files():
            return None
        found: dict[str, Any] = {name.lstrip("-"): _digest(path) for name, path in self.files().items()}
        return found if self.clip else {**found, "strength": self.effective_strength}

    def repeated(self, record: Any, like: Path) -> "Start":
        """What --like starts from: these files, if they are those that the picture was made from, at its strength.

        Raises UsageError where they are not. record: of a picture made by grn, None where it started from nothing.
        """
        made = record if isinstance(record, dict) else {}
        wanted = {name: digest for name, digest in made.items() if name != "strength"}
        given = {name: value for name, value in (self.record() or {}).items() if name != "strength"}
        if self.strength is not None or given != wanted:
            needed = " and ".join(f"--{name}" for name in wanted)
            raise UsageError(
                f"--like: {like} was made from a picture; give the same one again with {needed}, without --strength"
                if wanted
                else f"--like: {like} was made from nothing; leave out --{' and --'.join(given) or 'strength'}"
            )
        return replace(self, strength=made.get("strength"))


def _read(path: Path, size: tuple[int, int], background: str = "white") -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A picture at `size`, and its own (width, height)."""
    frame = read_image(path, background)
    return fit(frame, size), (frame.shape[1], frame.shape[0])


def _say_cropped(path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    """Say what part of a picture of `size` is scaled to `shown`, (width, height), where a border is left out."""
    scale = max(shown[0] / size[0], shown[1] / size[1])
    used = round(shown[0] / scale), round(shown[1] / scale)
    if any(part < (1 - _ROUNDING) * side for part, side in zip(used, size, strict=True)):
        _log.warning(
            f"{path}: is {size[0]}x{size[1]} and the result {shown[0]}x{shown[1]}: only its middle, {used[0]}x{used[1]}, is "
            "used; give the result another shape with --size or --aspect"
        )


def _digest(path: Path) -> str:
    with _opened(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def _opened(path: Path) -> BinaryIO:
    try:
        # A pipe has its bytes once, and they are read twice.
        if not stat.S_ISREG(path.stat().st_mode) and not is_folder(path):
            raise BadInputError(f"{path}: is a pipe or a device (expected a file); write it to a file first")
        return path.open("rb")
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}; check the path") from error
