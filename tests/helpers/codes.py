"""Codes of random indices, and their file made by hand."""

import io
import json
from typing import Any

import numpy as np

from grn.codes import Codes
from grn.codes.container import pieces

FINGERPRINT = "0123456789abcdef" * 4


def make_codes(
    shape: tuple[int, int, int, int] = (1, 16, 16, 16), rounds: int = 4, seed: int = 0, **changes: Any
) -> Codes:
    indices = np.random.default_rng(seed).integers(0, 2**rounds, shape, dtype=np.uint16)
    video = shape[0] > 1
    fields: dict[str, Any] = {
        "kind": "video" if video else "image",
        "height": 16 * shape[1],
        "width": 16 * shape[2],
        "frames": 4 * shape[0] - 3,
        "fps": 25.0 if video else None,
        "tokenizer": "emoji",
        "fingerprint": FINGERPRINT,
    }
    return Codes(indices, rounds, **(fields | changes))


def codes_file(meta: bytes, payload: bytes) -> bytes:
    """The file of any description and payload."""
    return b"".join(pieces(meta, [payload]))


def load_codes(data: bytes) -> Codes:
    return Codes.load(io.BytesIO(data))


def naive_load(data: bytes) -> np.ndarray:
    """What a reader without checks of its own would do."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        planes = arrays["codes"].reshape(meta["rounds"], -1)
        bits = np.unpackbits(planes, axis=1)[:, : np.prod(meta["shape"])].astype(np.uint16)
        return sum(bit << (meta["rounds"] - 1 - j) for j, bit in enumerate(bits)).reshape(meta["shape"])
