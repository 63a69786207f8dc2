"""One picture through the tokenizer, beside the same with all three time taps: `python benchmarks/tokenizer.py`.

Exits 1 if the two disagree or the single frame does not save at least a third.
"""

import sys
from unittest import mock

import torch
import torch.nn.functional as F
from timing import ratios
from torch import Tensor

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import CausalConv


def three_taps(self: CausalConv, x: Tensor, cache: object) -> Tensor:
    """The causal convolution without the short cut for a frame that has nothing before it."""
    x = F.pad(x, (0, 0, 0, 0, self.time_kernel - 1, 0))
    return F.conv3d(x, self.weight, self.bias, padding=(0, self.padding, self.padding))


@torch.inference_mode()
def main() -> int:
    """Measure and print."""
    torch.manual_seed(0)
    network = CausalAutoencoder(TokenizerConfig(encoder_width=32, decoder_width=48)).eval()
    picture = torch.rand(1, 3, 1, 128, 128) * 2 - 1

    def plain() -> Tensor:
        return network.decode(network.encode(picture))

    def padded() -> Tensor:
        with mock.patch.object(CausalConv, "forward", three_taps):
            return plain()

    torch.testing.assert_close(plain(), padded(), atol=1e-4, rtol=1e-4)
    single, three = ratios({"one frame as 2D convolutions": plain, "one frame padded to three": padded}).values()
    return int(single > 2 / 3 * three)


if __name__ == "__main__":
    sys.exit(main())
