"""An image tokenizer's weights in a network that also sees time, which then does to a frame what the image tokenizer did.

A convolution's last tap takes the image's weights and the taps of earlier frames are zero; the third convolution of a block that factors time
does nothing. Halving takes the mean of two frames, doubling
repeats one: a first frame and every frame of a still clip come out just as the picture would. Where the network leaves out a halving of space
(`halves_space`), its convolution is left out with it, and the finer tokens have to be learnt.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import Downsample, Upsample, set_taps

INFLATED_KEYS = (
    "time_kernel",
    "factors_time",
    "halves_time",
    "folds_time",
    "halves_space",
)  # what an image tokenizer's config may differ in


def can_inflate(image: TokenizerConfig, video: TokenizerConfig) -> bool:
    """Whether the second network can start from an image tokenizer of the first config: the same but for time, which is not folded,
    and for halvings of space that it leaves out.
    """
    same = image.model_dump(exclude={*INFLATED_KEYS, "rounds"}) == video.model_dump(exclude={*INFLATED_KEYS, "rounds"})
    folds = video.folds_time and any(video.halves_time)
    return same and image.time_kernel == 1 and video.time_kernel == 3 and not folds


def inflate(image: Mapping[str, Tensor], network: CausalAutoencoder) -> None:
    """Fill a network with the weights of an image tokenizer of which `can_inflate` holds."""
    state = network.state_dict()
    for name, weight in image.items():
        if name not in state:
            continue  # of a halving that is left out
        grown = torch.zeros_like(state[name])
        if weight.dim() == 5:  # [out, in, taps, k, k]
            grown[:, :, -weight.shape[2] :] = weight
        else:
            grown.copy_(weight)
        state[name] = grown
    network.load_state_dict(state)
    for module in network.modules():
        if isinstance(module, Downsample) and module.time is not None:
            set_taps(module.time, (0.0, 0.5, 0.5))
        elif isinstance(module, Upsample) and module.time is not None:
            set_taps(module.time, (0.0, 0.0, 1.0))
