"""The reference files as published checkpoints: family, dimensions, and what a conversion must be told."""

from grn.hub.convert import Hints
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig

CASES = {
    "tokenizer": ("tokenizer", TokenizerConfig.tiny(), Hints()),
    **{
        f"c2i_{target}": (
            "class-to-image",
            ClassToImageConfig(
                target=target, channels=4, width=64, depth=3, heads=4, bottleneck=24, context_tokens=5, context_start=1,
                num_classes=10, size=4,
            ),
            Hints(channels=4, context_start=1),
        )
        for target in ("ind", "bit")
    },
    **{
        f"t2iv_{target}": (
            "text-to-visual",
            TextToVisualConfig(target=target, channels=4, width=128, depth=2, heads=2, text_width=24, patch=1),
            Hints(channels=4, text_attention="one-way", like="grn-t2i"),
        )
        for target in ("ind", "bit")
    },
    "t2iv_fsa_bit": (
        "text-to-visual",
        TextToVisualConfig(
            target="bit", channels=4, width=128, depth=2, heads=2, text_width=24, text_attention="joint"
        ),
        Hints(channels=4, text_attention="joint", like="grn-8b"),
    ),
}  # fmt: skip
