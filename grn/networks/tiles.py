"""The frames of a large picture or clip through the autoencoder tile by tile: memory does not grow with their sides.

What the stages compute for a token depends on the pixels of a few tokens around it. So a tile is computed together with
that margin, which is then cut off: the same numbers as of the whole frame, but for the last bits that the order of sums
decides on some machines. What follows at the resolution of tokens,
where attention sees all of a frame, is small and computed whole.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from grn.devices import return_unused_memory
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_layers import TimeCache

_LEAST = 4  # margins that a tile is at least wide, so that not most of the work is thrown away


@dataclass(frozen=True)
class _Tile:
    """rows, columns: the tokens that it is for. top, left: where, with its margin, it begins; bottom, right: ends.
    cache: of the stages, for a clip.
    """

    rows: slice
    columns: slice
    top: int
    left: int
    bottom: int
    right: int
    cache: TimeCache | None


class TiledCoder:
    """One picture or clip on its way through the network.

    size: (height, width) of its frames in pixels, multiples of the stride. clip: frames follow the first one. values:
    about how many numbers the largest layer is to give for one tile; ten times as many are alive at once.
    """

    def __init__(self, network: CausalAutoencoder, size: tuple[int, int], clip: bool, values: int = 2**22) -> None:
        self._network, self._clip, self._values = network, clip, values
        self._tokens = size[0] // network.config.stride, size[1] // network.config.stride
        self._cache = TimeCache() if clip else None  # of what is computed whole
        self._encoder_tiles: list[_Tile] = []
        self._decoder_tiles: list[_Tile] = []

    def encode_group(self, pixels: Callable[[slice, slice], Tensor]) -> Tensor:
        """As `CausalAutoencoder.encode_group`. pixels: gives the group's pixels in a range of rows and one of columns."""
        config, stride = self._network.config, self._network.config.stride
        tiles = self._encoder_tiles = self._encoder_tiles or self._tiles(config.encoder_width, config.encoder_margin)
        x = None
        for tile in tiles:
            rows, columns = (
                slice(a * stride, b * stride) for a, b in ((tile.top, tile.bottom), (tile.left, tile.right))
            )
            part = self._network.shrink(pixels(rows, columns), tile.cache)
            if len(tiles) == 1:
                x = part
                break
            if x is None:
                x = part.new_empty(*part.shape[:3], *self._tokens)
            x[..., tile.rows, tile.columns] = part[..., _inner(tile.rows, tile.top), _inner(tile.columns, tile.left)]
            del part
            return_unused_memory()
        assert x is not None, "a frame has a tile"
        return self._network.conclude(x, self._cache)

    def decode_group(self, features: Tensor, first: bool) -> Iterator[tuple[slice, slice, Tensor]]:
        """As `CausalAutoencoder.decode_group`: pixels a tile at a time, after the rows and columns where they belong."""
        config, stride = self._network.config, self._network.config.stride
        tiles = self._decoder_tiles = self._decoder_tiles or self._tiles(config.decoder_width, config.decoder_margin)
        x, y = self._network.begin(features, self._cache)
        for tile in tiles:
            place = ..., slice(tile.top, tile.bottom), slice(tile.left, tile.right)
            pixels = self._network.grow((x[place], y[place]), tile.cache, first)
            rows, columns = (slice(tokens.start * stride, tokens.stop * stride) for tokens in (tile.rows, tile.columns))
            yield rows, columns, pixels[..., _inner(rows, tile.top * stride), _inner(columns, tile.left * stride)]
            if len(tiles) > 1:
                del pixels
                return_unused_memory()

    def _tiles(self, width: int, margin: int) -> list[_Tile]:
        """Tiles of about equal size, for stages whose finest layer has so many channels."""
        config = self._network.config
        frames = config.time_stride if self._clip else 1
        values = width * (config.stride // config.patch) ** 2 * frames  # a token
        side = max(int((self._values / values) ** 0.5) - 2 * margin, _LEAST * margin)
        rows, columns = (_ranges(tokens, side, margin) for tokens in self._tokens)
        return [
            _Tile(
                *(slice(top, bottom), slice(left, right)),
                *(max(0, top - margin), max(0, left - margin)),
                *(min(self._tokens[0], bottom + margin), min(self._tokens[1], right + margin)),
                TimeCache() if self._clip else None,
            )
            for (top, bottom), (left, right) in itertools.product(rows, columns)
        ]


def _ranges(length: int, side: int, margin: int) -> list[tuple[int, int]]:
    """[0, length) in ranges of about equal length, at most `side`; one where its margins would be no smaller."""
    count = 1 if length <= side + 2 * margin else -(-length // side)
    edges = [length * j // count for j in range(count + 1)]
    return list(itertools.pairwise(edges))


def _inner(part: slice, start: int) -> slice:
    """A range of a frame as the range of a tile that starts there."""
    return slice(part.start - start, part.stop - start)
