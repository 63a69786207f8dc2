"""The steps of one picture as an animation."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grn_cli.options import Common
from grn_cli.paths import Item, Outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grn.pipeline import Pipeline

_COLOURS = {"filled": (80, 180, 90), "kept": (190, 190, 190), "erased": (220, 80, 70)}


class History:
    """The steps of one picture: what was drawn, and which tokens it filled, kept and erased."""

    def __init__(self, path: Path, pictures: Outputs, common: Common) -> None:
        """Raises UsageError where the animation cannot go to `path`."""
        from grn.errors import UsageError
        from grn.media import VIDEO_SUFFIXES

        self.path, self.piped = path, pictures.stdout
        self.outputs = Outputs(str(path), many=False, force=common.force)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(f"--history {path}: is no animation; use one of {', '.join(VIDEO_SUFFIXES)}")
        self.views: list[Any] = []

    def note(self, view: Any) -> None:
        self.views.append(view)

    def frames(self, pipeline: "Pipeline") -> "Iterator[NDArray[np.uint8]]":
        """Each step's picture beside its token map, uint8 [H, 2W, 3]; a token's colour is the mean of its elements'."""
        import numpy as np
        import torch

        for view in self.views:
            picture = pipeline.pictures(pipeline.indices(view.drawing)[None])[0, 0]
            colours = torch.full((*view.filled.shape, 3), 255.0)
            for name, colour in _COLOURS.items():
                colours[getattr(view, name)] = torch.tensor(colour, dtype=torch.float32)
            tokens = colours.mean(-2)[0].round().byte().numpy()  # [h, w, 3]
            scale = picture.shape[0] // tokens.shape[0]
            yield np.concatenate([picture, tokens.repeat(scale, 0).repeat(scale, 1)], 1)

    def write(self, pipeline: "Pipeline", common: Common) -> None:
        from grn.media import VideoWriter

        target = self.outputs.path(Item(None, self.path), self.path.suffix)
        frames = list(self.frames(pipeline))
        with VideoWriter(target, frames[0].shape[1], frames[0].shape[0], 8) as video:
            for frame in [*frames, *[frames[-1]] * 8]:
                video.write(frame)
        if not self.piped:  # standard output has the picture's bytes
            common.console.result({"history": str(target), "steps": len(frames)}, str(target))
