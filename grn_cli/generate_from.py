"""The options of `grn generate` that start from a picture or clip that is there, and what they become."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grn.pipeline import Pipeline
    from grn.refine.known import Known

_STRENGTH = 0.6
_WHITE = 128  # of the mask's grey levels


@dataclass(frozen=True)
class FromOptions:
    """What the result starts from."""

    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="The first frame of a clip.")] = None
    continued: Annotated[
        Path | None,
        typer.Option(
            "--continue", metavar="FILE", help="Go on from this clip's last frames, which the result starts with."
        ),
    ] = None
    init: Annotated[
        Path | None, typer.Option("--init", metavar="FILE", help="A picture to refine towards the prompt.")
    ] = None
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength", metavar="0..1", help="How much of --init to draw anew; 0.6 if not given, with --mask 1."
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="Redraw --init only in the tokens where this picture is white."),
    ] = None

    def check(self) -> None:
        """Raises UsageError for options that contradict each other."""
        from grn.errors import UsageError

        given = [name for name, path in self._files().items() if path is not None and name != "--mask"]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: a result starts from one of them; give one")
        for name, value in (("--strength", self.strength), ("--mask", self.mask)):
            if value is not None and self.init is None:
                raise UsageError(f"{name}: says how a picture is redrawn; give the picture with --init")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise UsageError(f"--strength {self.strength:g} is out of range (expected more than 0, at most 1)")

    @property
    def clip(self) -> bool:
        """Whether only a clip can start so."""
        return self.image is not None or self.continued is not None

    @property
    def given(self) -> bool:
        """Whether the result starts from anything."""
        return self.clip or self.init is not None

    @property
    def effective_strength(self) -> float:
        """What --strength is, or stands at."""
        return self.strength if self.strength is not None else 1.0 if self.mask else _STRENGTH

    def known(self, pipeline: "Pipeline", size: tuple[int, ...]) -> "Known | None":
        """Read the files at the size that is drawn, (frames, height, width). Raises BadInputError or UsageError."""
        from grn import editing
        from grn.errors import BadInputError, UsageError
        from grn.media import open_media

        length, shown = size[0], (size[2], size[1])
        try:
            if self.init is not None:
                picture, original = _read(self.init, shown)
                mask = None
                if self.mask is not None:
                    # What is clear in it, as around strokes on a layer of their own, is not marked.
                    marked, found = _read(self.mask, shown, background="black")
                    if found != original:
                        raise BadInputError(
                            f"{self.mask}: is {found[0]}x{found[1]} (expected {original[0]}x{original[1]}, as "
                            f"{self.init}); give a mask of the picture's size"
                        )
                    mask = marked.mean(2) >= _WHITE
                return editing.refined_picture(pipeline, picture, self.effective_strength, mask)
            if self.image is not None:
                return editing.animated_picture(pipeline, _read(self.image, shown)[0], length)
            if self.continued is not None:
                with open_media(self.continued, size=shown, fps=pipeline.fps) as media:
                    if media.kind == "image":
                        raise BadInputError(f"{self.continued}: is a picture (expected a clip); give it with --image")
                    return editing.continued_clip(pipeline, media, length)
        except UsageError as error:
            raise UsageError(f"{', '.join(name for name, path in self._files().items() if path)}: {error}") from error
        return None

    def record(self) -> dict[str, Any] | None:
        """What a result says that it started from; --like asks for the same files again."""
        if not self.given:
            return None
        files = {name.lstrip("-"): _digest(path) for name, path in self._files().items() if path is not None}
        return files if self.clip else {**files, "strength": self.effective_strength}

    def _files(self) -> dict[str, Path | None]:
        return {"--image": self.image, "--continue": self.continued, "--init": self.init, "--mask": self.mask}


def repeated(start: FromOptions, record: Any, like: Path) -> FromOptions:
    """What --like starts from: the files given, if they are those that the picture was made from, at its strength.

    Raises UsageError where they are not. record: of a picture made by grn, None where it started from nothing.
    """
    from grn.errors import UsageError

    made = record if isinstance(record, dict) else {}
    wanted = {name: digest for name, digest in made.items() if name != "strength"}
    given = {name: value for name, value in (start.record() or {}).items() if name != "strength"}
    if start.strength is not None or given != wanted:
        needed = " and ".join(f"--{name}" for name in wanted)
        raise UsageError(
            f"--like: {like} was made from a picture; give the same one again with {needed}, without --strength"
            if wanted
            else f"--like: {like} was made from nothing; leave out --{' and --'.join(given) or 'strength'}"
        )
    return FromOptions(**{**vars(start), "strength": made.get("strength")})


def _read(path: Path, size: tuple[int, int], background: str = "white") -> "tuple[NDArray[np.uint8], tuple[int, int]]":
    """A picture at `size`, and its own (width, height)."""
    from grn.media import fit, read_image

    frame = read_image(path, background)
    return fit(frame, size), (frame.shape[1], frame.shape[0])


def _digest(path: Path) -> str:
    from grn.errors import BadInputError

    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}; check the path") from error
