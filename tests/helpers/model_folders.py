"""Small model folders for tests of them."""

import json
from pathlib import Path

import torch
from torch import nn

from grn.files import sha256
from grn.models.config import ModelConfig, TextToVisualModelConfig, TokenizerModelConfig
from grn.models.folder import ModelFolder, save_model
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import TextToVisualConfig

TOKENIZER = TokenizerModelConfig(name="small", network=TokenizerConfig.tiny())
GENERATOR = TextToVisualModelConfig(name="large", network=TextToVisualConfig.tiny())
WEIGHTS = "model.safetensors"


def layer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def saved(folder: Path, dtype: torch.dtype = torch.float32, config: ModelConfig = TOKENIZER) -> nn.Module:
    module = layer()
    save_model(folder, config, module.state_dict(), dtype, "card")
    return module


def load_weights(module: nn.Module, folder: Path, allow_nonfinite: bool = False) -> str:
    """Fill any network with a folder's weights; their fingerprint."""
    return ModelFolder.open(folder).load_weights(module, allow_nonfinite)


def edit(folder: Path, **changes: object) -> None:
    """Change config.json; a value of None removes the key."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def reseal(folder: Path) -> None:
    """Make config.json vouch for the weights as they are."""
    edit(folder, weights_sha256=sha256(folder / WEIGHTS))
