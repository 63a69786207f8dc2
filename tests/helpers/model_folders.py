"""Small model folders for tests of them."""

import json
from pathlib import Path

import torch
from torch import nn

from grn.models.folder import save_model, sha256

TOKENIZER = {"kind": "tokenizer", "name": "small", "network": {}}
GENERATOR = {"kind": "text-to-visual", "name": "large", "network": {}}
WEIGHTS = "model.safetensors"


def layer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def saved(folder: Path, dtype: torch.dtype = torch.float32, config: dict | None = None) -> nn.Module:
    module = layer()
    save_model(folder, config or TOKENIZER, module.state_dict(), dtype, "card")
    return module


def edit(folder: Path, **changes: object) -> None:
    """Change config.json; a value of None removes the key."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def reseal(folder: Path) -> None:
    """Make config.json vouch for the weights as they are."""
    edit(folder, weights_sha256=sha256(folder / WEIGHTS))
