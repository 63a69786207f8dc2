"""Pictures and clips to start from, as the sampler takes them: image-to-image, inpainting, image-to-video, continuation.

Axes: pictures are PIL images or uint8 [H, W, 3], of the size that is drawn unless said otherwise; token maps are [t, h, w, E].

A token of a causal tokenizer depends on its own and earlier frames only, so the first tokens of a clip that begins with given frames are
those of the given frames, whatever follows.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from grn.errors import UsageError
from grn.media import cover, fit, read_image, to_pixels
from grn.models.config import TextToVisualModelConfig
from grn.pipeline import Pipeline
from grn.refine.known import Known

Picture = NDArray[np.uint8]


def refined_picture(
    pipeline: Pipeline, picture: Picture | Image.Image, strength: float, mask: NDArray[np.bool_] | None = None
) -> Known:
    """Image-to-image; with a mask, inpainting. The picture is of the size that is drawn.

    strength: in (0, 1], the share of the refinement that is run; 1 keeps nothing of the picture outside the mask. mask:
    bool [H, W], True where to redraw: every token with such a pixel is redrawn, the others stay. Raises UsageError for a
    mask without such a pixel, or a picture that is no whole number of tokens.
    """
    if not 0 < strength <= 1:
        raise UsageError(f"strength {strength:g} is out of range (expected more than 0, at most 1)")
    picture = read_image(picture)
    tokens = _tokens(pipeline, [picture])
    fixed = torch.zeros(tokens.shape, dtype=torch.bool)
    if mask is not None:
        assert mask.shape == picture.shape[:2], f"a mask of {mask.shape} for a picture of {picture.shape}"
        stride = pipeline.tokenizer.config.stride
        redrawn = torch.from_numpy(np.ascontiguousarray(mask)).unflatten(1, (-1, stride)).unflatten(0, (-1, stride))
        if not mask.any():
            raise UsageError("mask: nothing in it is white, so nothing would be drawn; paint what to redraw in white")
        fixed = ~redrawn.any(3).any(1)[None, :, :, None].expand(tokens.shape)
    return Known(tokens, fixed, 1 - strength)


def animated_picture(
    pipeline: Pipeline, picture: Picture | Image.Image, frames: int, size: tuple[int, int] | None = None
) -> Known:
    """Image-to-video: a clip of `frames` frames that begins with the picture.

    size: (height, width) of the clip, by default the picture's; another picture is scaled to cover it, and cropped around
    its centre. Raises UsageError where no frame is left to draw.
    """
    picture = read_image(picture)
    if size is not None:
        about = pipeline.generator.about
        trained = isinstance(about, TextToVisualModelConfig) and about.image_prompt_tag
        picture = (cover if trained else fit)(picture, (size[1], size[0]))
    return _begun(pipeline, [picture], frames)


def continued_clip(pipeline: Pipeline, clip: Iterable[Picture], frames: int) -> Known:
    """Continuation: a clip of `frames` frames that begins with the last ones of another, at most half of its tokens.

    clip: at the model's frame rate; only the frames that are used are held. UsageError where no frame is left to draw.
    """
    config = pipeline.tokenizer.config
    most = max(1, pipeline.map_shape(frames, (pipeline.size, pipeline.size))[0] // 2)
    last = deque(clip, maxlen=config.pixel_frames(most))
    whole = config.whole_frames(len(last))  # what is less than a token would have to be made up
    return _begun(pipeline, list(last)[-whole:], frames)


def _begun(pipeline: Pipeline, beginning: list[Picture], frames: int) -> Known:
    given = _tokens(pipeline, beginning)
    shape = pipeline.map_shape(frames, beginning[0].shape[:2])
    if shape[0] <= len(given):
        raise UsageError(
            f"a clip of {frames} frames is {shape[0]} tokens long and {len(given)} would be given; draw a longer one"
        )
    tokens = torch.zeros(*shape, given.shape[-1], dtype=torch.int64)
    tokens[: len(given)] = given
    fixed = torch.zeros(tokens.shape, dtype=torch.bool)
    fixed[: len(given)] = True
    return Known(tokens, fixed)


def _tokens(pipeline: Pipeline, frames: list[Picture]) -> Tensor:
    """Frames -> [t, h, w, E]."""
    pipeline.map_shape(len(frames), frames[0].shape[:2])  # of a size that can be drawn
    indices = pipeline.tokenizer.encode(to_pixels(np.stack(frames)), pipeline.rounds)[0]
    return pipeline.elements(indices.cpu())
