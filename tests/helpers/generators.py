"""Tiny generators as model folders: untrained, with weights large enough that what they are asked for shows."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from grn.models.config import MODELS
from grn.models.folder import save_model
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig, Target, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import save_tokenizer

CLIP = {"frames": 9, "fps": 4}
WORDS = ["cat", "dog", "red", "green", "house"]
SIDE = 64  # pixels, of both


def text_model(folder: Path, target: Target = "bit", length: dict[str, int] | None = None) -> Path:
    """Draws from WORDS; 3 steps with guidance 2. length: frames and fps of a video model."""
    config = TextToVisualConfig.tiny(target)
    torch.manual_seed(1)
    vectors = torch.randn(len(WORDS), config.text_width)
    StaticWordVectors(StaticWordVectorsConfig(dim=config.text_width, rows=len(WORDS)), WORDS, vectors).save(
        folder / "text_encoder"
    )
    sampling = {"steps": 3, "guidance": 2.0, "k": 20.0, "b": -10.0}
    return _save(folder, "tiny-clips" if length else "tiny-words", TextToVisual(config), sampling, length)


def class_model(folder: Path) -> Path:
    """Draws 5 classes; 3 steps without guidance."""
    return _save(folder, "tiny-classes", ClassToImage(ClassToImageConfig.tiny()), {"steps": 3})


def _save(
    folder: Path,
    name: str,
    network: ClassToImage | TextToVisual,
    sampling: dict[str, Any],
    length: dict[str, int] | None = None,
) -> Path:
    torch.manual_seed(0)
    # As they are initialised, heads and gates are zero, and any prompt would draw the same.
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.dim() < 2 else parameter.shape[-1] ** -0.5)
    nn.init.normal_(network.head.weight, std=0.7)
    config = MODELS[network.config.kind](
        name=name, network=network.config, sampling=SamplerConfig(**sampling), size=SIDE, **(length or {})
    )
    save_model(folder, config, network.state_dict(), torch.float32)
    torch.manual_seed(0)
    save_tokenizer(folder / "tokenizer", CausalAutoencoder(TokenizerConfig.tiny()), "tiny")
    return folder
