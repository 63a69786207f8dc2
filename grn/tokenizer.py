"""Pixels <-> Codes: the network, HBQ, and the bookkeeping of sizes between them.

Axes
    pixels   float [B, 3, T, H, W] in [-1, 1], any H and W
    indices  int64 [B, t, h, w, C]: the token map Y, h = ceil(H / stride), w = ceil(W / stride),
             t = 1 + ceil((T - 1) / time stride)
"""

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grn import hbq
from grn.codes import Codes, PackedCodes
from grn.errors import BadInputError, ModelMismatchError
from grn.hub.resolve import resolve
from grn.media import FrameStream, MediaInput, from_pixels, opened, to_pixels
from grn.models.config import TokenizerModelConfig
from grn.models.folder import save_model
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.tiles import TiledCoder


class Tokenizer:
    """A trained autoencoder with its name and the fingerprint of its weights."""

    def __init__(self, network: CausalAutoencoder, name: str, fingerprint: str) -> None:
        self.network, self.name, self.fingerprint = network.eval().requires_grad_(False), name, fingerprint

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, offline: bool = False
    ) -> "Tokenizer":
        """Load by alias, folder or hub name (`grn.hub.resolve.resolve`); dtype None is float32.

        Raises ModelNotFoundError, ConfigError or ModelMismatchError.
        """
        model = resolve(str(name), offline=offline, kind="tokenizer").open()
        network, fingerprint = model.load_network(device, dtype, CausalAutoencoder.lay_out)
        return cls(network, model.config.name, fingerprint)

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, device={str(self.device)!r}, dtype={self.dtype})"

    @property
    def config(self) -> TokenizerConfig:
        return self.network.config

    @property
    def device(self) -> torch.device:
        return self.network.to_latent.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.to_latent.weight.dtype

    @property
    def dtype_name(self) -> str:
        """The number format as codes say it: "float32"."""
        return str(self.dtype).removeprefix("torch.")

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """pixels -> float32 features [B, C, t, h, w] in (-1, 1), before quantization."""
        with _exact():
            return self.network.encode(self._pad(pixels)).float()

    def encode(self, pixels: Tensor, rounds: int | None = None) -> Tensor:
        """pixels -> indices at `rounds` (default: the config's)."""
        return hbq.encode(self.features(pixels), rounds or self.config.rounds).movedim(1, -1)

    @torch.inference_mode()
    def decode(self, indices: Tensor, rounds: int | None = None) -> Tensor:
        """indices -> float32 pixels in [-1, 1], whole tokens (not cropped)."""
        features = hbq.decode(indices.movedim(-1, 1), rounds or self.config.rounds)
        return self.network.decode(features.to(self.device, self.dtype)).float().clamp(-1, 1)

    @torch.inference_mode()
    def reconstruct_pixels(self, pixels: Tensor, rounds: int | None) -> Tensor:
        """There and back, cropped to the input's size; rounds None leaves the features unquantized."""
        features = self.features(pixels)
        if rounds is not None:
            features = hbq.quantize(features, rounds)
        decoded = self.network.decode(features.to(self.dtype)).float().clamp(-1, 1)
        return decoded[:, :, : pixels.shape[2], : pixels.shape[3], : pixels.shape[4]]

    def tokenize(self, source: MediaInput | FrameStream, rounds: int | None = None) -> Codes:
        """Tokenize an image or a clip: an opened one, a path, a stream, PIL images or an array (see `open_media`).

        The token map of a long clip is large: `tokenize_packed` keeps it as bits.
        """
        return self.tokenize_packed(source, rounds).unpack()

    def tokenize_packed(self, source: MediaInput | FrameStream, rounds: int | None = None) -> PackedCodes:
        """Tokenize as `tokenize`, a group of frames at a time: but for the bits of its codes, memory does not grow with a clip's length.

        Raises BadInputError where there is no frame.
        """
        with opened(source) as media:
            return self._tokenize(media, rounds or self.config.rounds)

    def _tokenize(self, media: FrameStream, rounds: int) -> PackedCodes:
        coder: TiledCoder | None = None
        packer = hbq.PlanePacker(rounds)
        frames, shape = 0, (0, 0, 0, 0)
        for group in self._groups(media):
            frames += len(group)
            levels = self._levels(group, shape[0] > 0)
            coder = coder or TiledCoder(self.network, levels.shape[1:3], media.kind == "video")
            with torch.inference_mode(), _exact():
                features = coder.encode_group(functools.partial(self._tile, levels)).float()
            indices = hbq.encode(features, rounds, torch.empty_like(features, dtype=torch.uint16))[0].movedim(0, -1)
            packer.add(indices.cpu().numpy())  # [1, h, w, C]
            shape = (shape[0] + 1, *indices.shape[1:])
            height, width = group[0].shape[:2]
        if not frames:
            raise BadInputError(f"{media.name}: holds no frames; give an image or a clip with at least one")
        facts = media.kind, height, width, frames, media.fps if media.kind == "video" else None
        return PackedCodes(packer.planes(), shape, *facts, self.name, self.fingerprint, dtype=self.dtype_name)

    def reconstruct(self, codes: Codes | PackedCodes, *, any_tokenizer: bool = False) -> Iterator[np.ndarray]:
        """Codes -> uint8 frames [H, W, 3] of the original size and number, streamed.

        Raises ModelMismatchError where the codes are another tokenizer's, unless `any_tokenizer`, or do not fit this
        one.
        """
        self._check(codes, any_tokenizer)
        return self._frames(codes)

    def _frames(self, codes: Codes | PackedCodes) -> Iterator[np.ndarray]:
        stride, left = self.config.stride, codes.frames
        height, width = codes.shape[1] * stride, codes.shape[2] * stride
        coder = TiledCoder(self.network, (height, width), codes.kind == "video")
        for i, plane in enumerate(codes.maps()):
            indices = torch.from_numpy(plane).movedim(-1, 0)[None, :, None]
            frames = np.empty((self.config.time_stride if i else 1, height, width, 3), np.uint8)
            with torch.inference_mode():
                features = hbq.decode(indices, codes.rounds).to(self.device, self.dtype)
                for rows, columns, pixels in coder.decode_group(features, first=i == 0):
                    frames[:, rows, columns] = from_pixels(pixels)
            for frame in frames[:left, : codes.height, : codes.width]:
                yield np.ascontiguousarray(frame)
            left -= len(frames)

    def _check(self, codes: Codes | PackedCodes, any_tokenizer: bool) -> None:
        if codes.fingerprint != self.fingerprint and not any_tokenizer:
            raise ModelMismatchError(
                f"the codes were made with {codes.tokenizer} ({codes.fingerprint[:12]}) and this tokenizer is "
                f"{self.name} ({self.fingerprint[:12]})"
            )
        expected = (*self.config.map_shape(codes.frames, codes.height, codes.width), self.config.channels)
        if tuple(codes.shape) != expected:
            raise ModelMismatchError(
                f"the codes are a map of {list(codes.shape)} and {self.name} makes {list(expected)} of "
                f"{codes.frames} frames of {codes.width}x{codes.height}; name the tokenizer they were made with"
            )

    def _groups(self, frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """The first frame, then `time_stride` frames at a time; the last group may be shorter."""
        group: list[np.ndarray] = []
        first = True
        for frame in frames:
            group.append(frame)
            if first or len(group) == self.config.time_stride:
                yield group
                group, first = [], False
        if group:
            yield group

    def _levels(self, group: list[np.ndarray], later: bool) -> np.ndarray:
        """The group as [T, H, W, 3], its last frame, rows and columns repeated up to what the network takes at once."""
        missing = self.config.time_stride - len(group) if later else 0
        levels = np.stack(group + [group[-1]] * missing) if later else group[0][None]
        bottom, right = (-side % self.config.stride for side in levels.shape[1:3])
        return np.pad(levels, ((0, 0), (0, bottom), (0, right), (0, 0)), "edge") if bottom or right else levels

    def _tile(self, levels: np.ndarray, rows: slice, columns: slice) -> Tensor:
        """Part of frames uint8 [T, H, W, 3] as pixels where the network is."""
        return to_pixels(levels[:, rows, columns]).to(self.device, self.dtype)

    def _pad(self, pixels: Tensor) -> Tensor:
        assert pixels.ndim == 5, f"pixels: expected [B, 3, T, H, W], found {list(pixels.shape)}"
        frames = pixels.shape[2]
        missing = self.config.pixel_frames(self.config.token_frames(frames)) - frames
        pixels = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2)
        return self._pad_space(pixels).to(self.device, self.dtype)

    def _pad_space(self, pixels: Tensor) -> Tensor:
        """Repeat the last row and column up to a multiple of the stride."""
        stride = self.config.stride
        bottom, right = -pixels.shape[-2] % stride, -pixels.shape[-1] % stride
        return F.pad(pixels, (0, right, 0, bottom, 0, 0), mode="replicate") if bottom or right else pixels


@contextmanager
def _exact() -> Iterator[None]:
    """Float32 is multiplied as float32, not cut to the 10 bits of TF32 or to bfloat16 first: codes are the same on every machine."""
    backends: Any = torch.backends
    places = [backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def save_tokenizer(
    folder: Path, network: CausalAutoencoder, name: str, dtype: torch.dtype = torch.float16, card: str = ""
) -> None:
    """Write a tokenizer as a model folder."""
    config = TokenizerModelConfig(name=name, network=network.config)
    save_model(folder, config, network.state_dict(), dtype=dtype, card=card)
