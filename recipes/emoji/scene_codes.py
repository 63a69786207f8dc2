"""Token maps of composed scenes, pictures and clips, encoded once and kept in shards: on a processor, composing and encoding cost more than learning.

A shard holds the maps of SHARD samples in order, uint8 [SHARD, t, h, w, C], named by what it was made of: other sprites, scenes, tokenizers or rounds
find none. A run that is stopped while they are made loses at most one.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from banks import Dice
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grn.errors import BadInputError
from grn.files import atomic_path

SHARD = 2048


def key_of(*parts: Tensor | str | int) -> str:
    """What shards are named by: a hash of all that their maps depend on."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher.hexdigest()[:16]


def cached_maps(
    folder: Path, key: str, count: int, seed: int, device: torch.device, encode: Callable[[Tensor, Dice], Tensor]
) -> Tensor:
    """The maps of samples 0 to count, uint8 on the device: shards that are there are read, the others made.

    encode(rows, dice): maps of these samples; the dice depend on the seed and the shard alone. BadInputError names a damaged shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, rows in enumerate(torch.arange(count).split(SHARD)):
        path = folder / f"{key}-{number:05}-{len(rows)}.safetensors"
        if not path.is_file():
            made = encode(rows.to(device), Dice.of(seed, number, device)).to(torch.uint8).cpu().contiguous()
            with atomic_path(path) as aside:
                save_file({"maps": made}, aside)
            print(f"encoded {int(rows[-1]) + 1} of {count} samples", flush=True)
        try:
            parts.append(load_file(path)["maps"])
        except (SafetensorError, KeyError) as error:
            raise BadInputError(f"{path}: damaged ({error}); delete it, and it is made again") from error
    return torch.cat(parts).to(device)
