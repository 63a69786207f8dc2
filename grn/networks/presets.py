"""The paper's sizes of both families, by model name."""

from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig


def _classes(depth: int, width: int, heads: int, bottleneck: int, context_start: int) -> ClassToImageConfig:
    return ClassToImageConfig(
        width=width, depth=depth, heads=heads, bottleneck=bottleneck, context_tokens=32, context_start=context_start
    )


PRESETS: dict[str, ClassToImageConfig | TextToVisualConfig] = {
    "grn-b": _classes(depth=12, width=768, heads=12, bottleneck=128, context_start=4),
    "grn-l": _classes(depth=24, width=1024, heads=16, bottleneck=128, context_start=8),
    "grn-h": _classes(depth=32, width=1280, heads=16, bottleneck=256, context_start=10),
    "grn-g": _classes(depth=40, width=1664, heads=16, bottleneck=256, context_start=10),
    "grn-t2i": TextToVisualConfig(channels=64, width=2304, depth=28, heads=18),
    "grn-t2v": TextToVisualConfig(channels=64, width=2304, depth=28, heads=18),
}
