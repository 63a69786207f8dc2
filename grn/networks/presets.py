"""The paper's sizes of both families, by model name."""

from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig


def _classes(depth: int, width: int, heads: int, bottleneck: int, context_start: int) -> ClassToImageConfig:
    return ClassToImageConfig(
        width=width, depth=depth, heads=heads, bottleneck=bottleneck, context_tokens=32, context_start=context_start
    )


def _texts(depth: int, width: int, heads: int, mlp_ratio: float = 3.55) -> TextToVisualConfig:
    return TextToVisualConfig(
        channels=64, target="bit", width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio, text_attention="joint"
    )


PRESETS: dict[str, ClassToImageConfig | TextToVisualConfig] = {
    "grn-b": _classes(depth=12, width=768, heads=12, bottleneck=128, context_start=4),
    "grn-l": _classes(depth=24, width=1024, heads=16, bottleneck=128, context_start=8),
    "grn-h": _classes(depth=32, width=1280, heads=16, bottleneck=256, context_start=10),
    "grn-g": _classes(depth=40, width=1664, heads=16, bottleneck=256, context_start=10),
    "grn-t2i": _texts(depth=28, width=2304, heads=18),
    "grn-t2v": _texts(depth=28, width=2304, heads=18),
    "grn-8b": _texts(depth=36, width=4096, heads=32, mlp_ratio=3.0),
    "grn-8b-t2i": _texts(depth=36, width=4096, heads=32, mlp_ratio=4.0),
}
