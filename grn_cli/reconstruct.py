"""`grn reconstruct`: codes files -> images and videos."""

import io
import math
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.console import Console
from grn_cli.errors import Batch, say
from grn_cli.options import Common, command, rounds_option
from grn_cli.paths import Item, Outputs, expand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grn.codes import PackedCodes
    from grn.media import Media
    from grn.tokenizer import Tokenizer

    Frames = Iterable[NDArray[np.uint8]]

_DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class ReconstructOptions:
    """The options of `grn reconstruct`."""

    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE|FOLDER|-",
            help="Where to write; .png or .mp4 beside each input if not given, '-' for stdout.",
        ),
    ] = None
    rounds: Annotated[int | None, rounds_option("Use only this many of the rounds stored.")] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", metavar="NAME|FOLDER", help="Model to use; the one named in the codes if not given."
        ),
    ] = None
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="FILE", help="The original: print PSNR and SSIM against it.")
    ] = None


@command
def reconstruct(
    inputs: Annotated[
        list[str], typer.Argument(metavar="CODES", help="Codes files, folders or globs of them; '-' is stdin.")
    ],
    options: ReconstructOptions,
    common: Common,
) -> None:
    """Turn codes files back into images and videos.

    Prints the path of each file written.
    """
    console = common.console
    batch = Batch(alone=len(inputs) == 1)
    items = expand(inputs, {".npz"}, batch)
    many = len(items) > 1 or not batch.alone
    outputs = Outputs(options.out, many=many, force=common.force)
    if options.reference and many:
        from grn.errors import UsageError

        raise UsageError("--reference: belongs to one codes file; give one at a time")
    run = _Run(options, common, outputs, watch=not many)
    for item in console.progress(items, "reconstruct") if many else items:
        with batch.item():
            run.one(item)
    batch.finish()


@dataclass
class _Run:
    """What the items of one command share; tokenizers are loaded once each."""

    options: ReconstructOptions
    common: Common
    outputs: Outputs
    watch: bool
    tokenizers: dict[str, "Tokenizer"] = field(default_factory=dict)

    def one(self, item: Item) -> None:
        """Reconstruct one codes file."""
        codes = self._load(item)
        tokenizer = self._tokenizer(codes, item)
        if foreign := codes.fingerprint != tokenizer.fingerprint and self.common.force:
            self.common.console.warn(
                f"{item.name}: made with other weights than {tokenizer.name}'s; decoding as --force asks"
            )
        with ExitStack() as stack:
            frames: Frames = tokenizer.reconstruct(codes, any_tokenizer=self.common.force)
            if self.watch and codes.kind == "video":
                frames = self.common.console.progress(frames, "frames", codes.frames)
            compare = None
            if self.options.reference:
                compare = stack.enter_context(_Comparison(self.options.reference, codes))
                frames = compare.along(frames)
            written = _write(frames, codes, self.outputs, item, self.common.console, foreign)
        self._tell(item, codes, written, compare)

    def _load(self, item: Item) -> "PackedCodes":
        from grn.codes import PackedCodes
        from grn.errors import UsageError

        codes = PackedCodes.load(item.source())
        if not self.options.rounds:
            return codes
        if self.options.rounds > codes.rounds:
            raise UsageError(
                f"--rounds {self.options.rounds}: {item.name} holds {codes.rounds} rounds; give at most that many"
            )
        return codes.truncate(self.options.rounds)

    def _tokenizer(self, codes: "PackedCodes", item: Item) -> "Tokenizer":
        from grn.tokenizer import Tokenizer

        name = self.options.tokenizer or _trusted(codes, item)
        if name not in self.tokenizers:
            common = self.common
            loaded = Tokenizer.from_pretrained(name, common.torch_device(), common.torch_dtype(), common.offline)
            common.console.detail(f"tokenizer {loaded.name}, weights {loaded.fingerprint[:12]}")
            self.tokenizers[name] = loaded
        return self.tokenizers[name]

    def _tell(self, item: Item, codes: "PackedCodes", written: str, compare: "_Comparison | None") -> None:
        record = {
            "input": item.name,
            "output": written,
            "kind": codes.kind,
            "width": codes.width,
            "height": codes.height,
            "frames": codes.frames,
            "fps": codes.fps,
            "rounds": codes.rounds,
            "tokenizer": codes.tokenizer,
        } | (compare.record() if compare else {})
        likeness = [compare.text()] if compare else []
        if not self.outputs.stdout:
            self.common.console.result(record, written, *likeness)
        elif likeness:
            say("reference", *likeness)


def _trusted(codes: "PackedCodes", item: Item) -> str:
    # A name inside a file may point anywhere; only our own names are followed without being asked.
    from grn.errors import ModelNotFoundError
    from grn.hub import registry

    if codes.tokenizer not in registry.names("tokenizer"):
        raise ModelNotFoundError(
            f"{item.name}: made with a tokenizer called {codes.tokenizer!r}; name its folder with --tokenizer"
        )
    return codes.tokenizer


def _write(
    frames: "Frames", codes: "PackedCodes", outputs: Outputs, item: Item, console: Console, foreign: bool
) -> str:
    """Write the frames; the place they went to."""
    from grn.media import write_image

    image = codes.kind == "image"
    text = {"grn": "decoded with other weights than it was encoded with"} if foreign else {}
    if not outputs.stdout:
        path = outputs.path(item, ".png" if image else ".mp4")
        if image:
            write_image(path, next(iter(frames)), text)
        else:
            _write_video(frames, codes, path, console)
        return str(path)
    if image:
        held = io.BytesIO()
        write_image(held, next(iter(frames)), text)
        sys.stdout.buffer.write(held.getvalue())
    else:
        # A video file is finished by going back to its beginning, which a pipe cannot.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            _write_video(frames, codes, path, console)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return "-"


def _write_video(frames: "Frames", codes: "PackedCodes", path: Path, console: Console) -> None:
    from grn.media import VideoWriter

    if codes.fps is None:
        console.warn(f"{path}: the codes hold no frame rate; writing {_DEFAULT_FPS:g} frames a second")
    with VideoWriter(path, codes.width, codes.height, codes.fps or _DEFAULT_FPS) as video:
        for frame in frames:
            video.write(frame)


class _Comparison:
    """PSNR and SSIM against the original, frame by frame as the frames pass; means over the frames."""

    def __init__(self, reference: Path, codes: "PackedCodes") -> None:
        """Raises BadInputError where the original has another size or number of frames."""
        from grn.errors import BadInputError
        from grn.media import open_media

        self._media: Media = open_media(reference)
        found, expected = (self._media.width, self._media.height), (codes.width, codes.height)
        if found != expected:
            self._media.close()
            raise BadInputError(
                f"{reference}: is {found[0]}x{found[1]} (expected {expected[0]}x{expected[1]}, as in the codes); "
                "give the picture that was tokenized"
            )
        self._psnr: list[float] = []
        self._ssim: list[float] = []

    def __enter__(self) -> "_Comparison":
        return self

    def __exit__(self, *error: object) -> None:
        self._media.close()

    def along(self, frames: "Frames") -> Iterator[Any]:
        """Pass the frames on, each measured."""
        import numpy as np

        from grn.errors import BadInputError
        from grn.evaluation.metrics import psnr, ssim
        from grn.media import to_pixels

        originals = iter(self._media)
        for frame in frames:
            original = next(originals, None)
            if original is None:
                raise BadInputError(
                    f"{self._media.name}: has fewer frames than the codes; give the clip that was tokenized"
                )
            pair = [to_pixels(np.asarray(picture)[None])[:, :, 0] for picture in (frame, original)]
            self._psnr.append(float(psnr(*pair)))
            self._ssim.append(float(ssim(*pair)))
            yield frame
        if next(originals, None) is not None:
            raise BadInputError(f"{self._media.name}: has more frames than the codes; give the clip that was tokenized")

    def text(self) -> str:
        """For people."""
        return f"PSNR {_mean(self._psnr):.2f} dB, SSIM {_mean(self._ssim):.4f}"

    def record(self) -> dict[str, float | None]:
        """For programs; JSON has no infinity, so equal pictures have a PSNR of null."""
        found = {"psnr": _mean(self._psnr), "ssim": _mean(self._ssim)}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
