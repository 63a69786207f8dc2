"""Any vision model of transformers as the network that distances are measured with.

Axes
    pixels    float [B, 3, H, W] in [-1, 1]; resized and normalised as the model's own preprocessor says
    features  float32 [B, D]: a model of texts and pictures' embedding of the picture, else the pooled output (where the
              file has its weights), else the
              first token (of transformers) or the mean over rows and columns (of convolutions)
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.files import display

_MEAN, _DEVIATION, _SIDE = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224


class VisionFeatures(nn.Module):
    """A frozen vision model by its name on the hub or its folder, called `name` in results."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, source: str, offline: bool = False) -> None:
        """Raises ModelNotFoundError where there is no such model, ModelMismatchError where it takes no pictures."""
        super().__init__()
        from transformers import AutoModel  # takes seconds, and most measurements do without

        try:
            self.network, loaded = AutoModel.from_pretrained(
                source, local_files_only=offline, trust_remote_code=False, output_loading_info=True
            )
            settings = _preprocessor(source, offline)
        except (OSError, ValueError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelNotFoundError(
                f"{display(source)}: no vision model of transformers ({display(reason)})"
            ) from error
        # transformers fills what a file lacks with random numbers; many files lack the pooler, which is left out then.
        lacking = set(loaded["missing_keys"])
        if any("pooler" not in key for key in lacking):
            raise ModelMismatchError(
                f"{display(source)}: lacks weights of {display(min(lacking))}; name a whole vision model"
            )
        self._pools = not lacking
        size = settings.get("crop_size") or settings.get("size") or _SIDE
        if isinstance(size, dict):
            size = size.get("height") or size.get("shortest_edge") or _SIDE
        self.side = int(size)
        for name, values in (
            ("mean", settings.get("image_mean", _MEAN)),
            ("deviation", settings.get("image_std", _DEVIATION)),
        ):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))
        self.name = f"{source} (transformers) at {self.side}"
        self.requires_grad_(False)
        self.eval()
        try:
            self.dim = self(torch.zeros(1, 3, self.side, self.side)).shape[1]
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelMismatchError(
                f"{display(source)}: takes no pictures ({display(str(error).splitlines()[0] if str(error) else type(error).__name__)})"
            ) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> features float32 [B, dim]."""
        if pixels.shape[-2:] != (self.side, self.side):
            pixels = F.interpolate(pixels, (self.side, self.side), mode="bicubic", antialias=True).clamp(-1, 1)
        pixels = ((pixels + 1) / 2 - self.mean) / self.deviation
        if hasattr(self.network, "get_image_features"):
            return _pooled(self.network.get_image_features(pixel_values=pixels), True).float()
        return _pooled(self.network(pixel_values=pixels), self._pools).float()


def _pooled(output: Any, pools: bool) -> Tensor:
    """One vector a picture of what a model returns. pools: the pooled output is of trained weights."""
    if isinstance(output, Tensor):
        return output.flatten(1)
    pooled = getattr(output, "pooler_output", None)
    if pooled is not None and pools:
        return pooled.flatten(1)
    hidden: Tensor = output.last_hidden_state
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def _preprocessor(source: str, offline: bool) -> dict[str, Any]:
    """preprocessor_config.json; empty where the model has none. transformers' own preprocessors need torchvision."""
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        found: dict[str, Any] = BaseImageProcessor.get_image_processor_dict(source, local_files_only=offline)[0]
    except OSError:
        return {}
    return found
