"""What a generator learns from: scenes that are composed, clips, and pictures as they are, all as token maps on the device."""

import json
import multiprocessing
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from banks import PICTURES, Dice, decode, divide
from compose import Renderer, Scenes, compose
from scene_codes import cached_maps, key_of
from scenes import Composer
from sprites import Sprite
from torch import Tensor
from words_on_device import DeviceWords, words_of

from grn import hbq
from grn.errors import BadInputError
from grn.media.pixels import to_unit
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer

_PART = 256  # pictures composed at once
_ENCODED_AT_ONCE = 256
# On a processor fewer: of 256, what lies between layers comes from fresh memory each time, 2.3 times as slow.
_ENCODED_ON_A_PROCESSOR = 32
_CLIPS_AT_ONCE = 32
_MOST_PARTS = 64  # into which the making of scenes is divided


@dataclass(frozen=True)
class SceneSource:
    """Composed scenes and their captions (rows of `words`). maps: their token maps, uint8 [N, 1, h, w, C]; None: encoded whenever they are drawn."""

    scenes: Scenes
    words: DeviceWords
    renderer: Renderer
    tokenizer: Tokenizer
    rounds: int
    maps: Tensor | None = None

    def __call__(self, count: int, dice: Dice) -> tuple[Tensor, Tensor]:
        """(token maps int64 [count, 1, h, w, C], rows of the captions)."""
        device = self.scenes.objects.device
        rows = torch.randint(len(self.scenes), (count,), generator=dice.device, device=device)
        return (self.encoded(rows, dice) if self.maps is None else self.maps[rows].long()), rows

    def encoded(self, rows: Tensor, dice: Dice) -> Tensor:
        """Token maps of these scenes, composed a little differently each time."""
        parts = []
        for part in rows.split(_PART):
            pixels = self.renderer(self.scenes[part], dice.device)
            parts.append(encode(self.tokenizer, pixels[:, :, None], self.rounds))
        return torch.cat(parts)

    def kept(self, folder: Path, seed: int) -> "SceneSource":
        """The same with the maps of all its scenes, from the folder's shards or made now."""
        renderer, scenes = self.renderer, self.scenes
        photos = "none" if renderer.photos is None else renderer.photos
        drawn = renderer.levels[0], photos, renderer.shaken, scenes.objects, scenes.grounds, scenes.photos
        key = key_of(*drawn, self.tokenizer.fingerprint, self.rounds, seed)
        maps = cached_maps(folder, key, len(scenes), seed, scenes.objects.device, self.encoded)
        return replace(self, maps=maps)


@dataclass(frozen=True)
class ClipSource:
    """Token maps of clips, or of pictures [N, t, h, w, C], uint8; the captions of each are rows [first, first + count) of `words`."""

    maps: Tensor
    first: Tensor
    count: Tensor
    words: DeviceWords

    def __call__(self, count: int, cut: float, dice: Dice) -> tuple[Tensor, Tensor]:
        """(token maps int64 [count, t, h, w, C], rows of the captions); a share `cut` of the batches is cut to a shorter length."""
        device, length = self.maps.device, self.maps.shape[1]
        which = torch.randint(len(self.maps), (count,), generator=dice.device, device=device)
        shown = 1 + dice.below(length - 1) if length > 1 and dice.chance() < cut else length
        place = (torch.rand(count, generator=dice.device, device=device) * self.count[which]).long()
        return self.maps[which, :shown].long(), self.first[which] + place


@dataclass(frozen=True)
class MixedSource:
    """Scenes, and in `share` of each batch pictures, whose captions are rows of the same words."""

    scenes: SceneSource
    pictures: ClipSource
    share: float

    @property
    def words(self) -> DeviceWords:
        """The captions of both."""
        return self.scenes.words

    def __call__(self, count: int, dice: Dice) -> tuple[Tensor, Tensor]:
        """(token maps int64 [count, 1, h, w, C], rows of the captions)."""
        still, composed = divide(count, (self.share, 1 - self.share), dice)
        parts = [self.pictures(still, 0.0, dice), self.scenes(composed, dice)]
        return torch.cat([maps for maps, _ in parts]), torch.cat([rows for _, rows in parts])


@torch.no_grad()
def encode(tokenizer: Tokenizer, pixels: Tensor, rounds: int) -> Tensor:
    """Pixels [B, 3, T, H, W] in [-1, 1] -> token maps int64 [B, t, h, w, C], computed in the tokenizer's type."""
    parts = pixels.to(tokenizer.dtype).split(
        _ENCODED_ON_A_PROCESSOR if pixels.device.type == "cpu" else _ENCODED_AT_ONCE
    )
    features = torch.cat([tokenizer.network.encode(part) for part in parts])
    return hbq.encode(features.float(), rounds).movedim(1, -1)


def make_scenes(make: Callable[[], Composer], count: int, seed: int, processes: int) -> tuple[list[list[str]], Scenes]:
    """So many scenes and their captions' words, by several processes; the same whatever their number.

    make: makes the composer, in each process anew: it holds functions, which do not pass from one to another.
    """
    parts = min(_MOST_PARTS, count)
    sizes = [count // parts + (i < count % parts) for i in range(parts)]
    make_part = partial(_make_part, make, seed)
    if processes == 1:
        made = [make_part(task) for task in enumerate(sizes)]
    else:
        with multiprocessing.Pool(processes) as pool:
            made = pool.map(make_part, list(enumerate(sizes)), chunksize=1)
    captions = [caption for part, _ in made for caption in part]
    objects, grounds, photos = (np.concatenate([arrays[n] for _, arrays in made]) for n in range(3))
    return captions, Scenes(torch.from_numpy(objects), torch.from_numpy(grounds), torch.from_numpy(photos))


def share_of_name(ranks: Mapping[str, int], power: float, name: str) -> float:
    """How often a name is drawn: 1 over the rank of its rarest word, to this power. ranks: of words, the commonest first; others come last."""
    rank = max(ranks.get(word, len(ranks)) for word in name.split())
    return (1.0 + rank / 1000) ** -power


def _make_part(
    make: Callable[[], Composer], seed: int, task: tuple[int, int]
) -> tuple[list[list[str]], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """In a process of its own, which therefore gives arrays back: tensors would share memory and files."""
    number, count = task
    captions, scenes = compose(make().scene, count, seed * _MOST_PARTS + number)
    arrays = scenes.objects.numpy(), scenes.grounds.numpy(), scenes.photos.numpy()
    return [words_of(caption) for caption in captions], arrays


def choose(sprites: Sequence[Sprite], styles: Sequence[str], names: str, limit: int | None = None) -> list[int]:
    """Numbers of the sprites of these styles: "all", or of names and pairs that are not held out ("train"); about `limit` of them, of every group."""
    found = [n for n, one in enumerate(sprites) if one.style in styles and names in ("all", one.split)]
    return found if limit is None else found[:: max(1, len(found) // limit)]


def read_captioned(
    path: Path,
    side: int,
    frames: int,
    processes: int,
    limit: int | None = None,
    wanted: Callable[[dict[str, Any]], bool] = lambda about: True,
) -> tuple[np.ndarray, list[list[str]]]:
    """Clips of a tar as prepare_video.py writes it, or pictures of one by prepare.py, uint8 [N, frames, side, side, 3], and the captions of each.

    wanted: whether to take one, by what the tar says of it.
    """
    try:
        with tarfile.open(path) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            data = {name: file.read() for name, file in files.items() if file is not None}
        said = {name: json.loads(data[f"{Path(name).stem}.json"]) for name in data if name.endswith(PICTURES)}
        names = [name for name, about in said.items() if wanted(about)][:limit]
        captions = [list(said[name]["captions"]) for name in names]
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise BadInputError(f"{path}: not a tar of captioned pictures or clips ({error})") from error
    if not names:
        raise BadInputError(f"{path}: expected files that end in {', '.join(PICTURES)}, found none that is wanted")
    decoded = partial(decode, side=side, frames=frames)
    if processes == 1:
        return np.stack([decoded(data[name]) for name in names]), captions
    with multiprocessing.Pool(processes) as pool:
        return np.stack(pool.map(decoded, [data[name] for name in names], chunksize=8)), captions


def clip_source(
    pixels: np.ndarray,
    captions: list[list[str]],
    text: StaticWordVectors,
    tokenizer: Tokenizer,
    rounds: int,
    folder: Path | None = None,
) -> ClipSource:
    """Every clip as it is and mirrored, encoded. folder: of shards that are kept."""
    device = tokenizer.device
    maps = encoded(pixels, tokenizer, rounds, mirrored=True, folder=folder)
    first, counts = _places(captions)
    words = DeviceWords(text, [words_of(caption) for said in captions for caption in said], device)
    twice = torch.arange(len(captions)).repeat_interleave(2)
    return ClipSource(maps, first[twice].to(device), counts[twice].to(device), words)


def picture_source(
    pixels: np.ndarray,
    captions: list[list[str]],
    words: DeviceWords,
    before: int,
    tokenizer: Tokenizer,
    rounds: int,
    folder: Path | None = None,
) -> ClipSource:
    """Pictures as they are, encoded; their captions are the rows of `words` from `before` on. folder: of shards that are kept."""
    maps = encoded(pixels, tokenizer, rounds, mirrored=False, folder=folder)
    first, counts = _places(captions)
    return ClipSource(maps, (before + first).to(tokenizer.device), counts.to(tokenizer.device), words)


def encoded(pixels: np.ndarray, tokenizer: Tokenizer, rounds: int, mirrored: bool, folder: Path | None) -> Tensor:
    """Token maps uint8 [N, t, h, w, C] of clips or pictures; mirrored: of each also its mirror image, behind it."""
    samples, each, device = torch.from_numpy(pixels), 1 + mirrored, tokenizer.device
    at_once = _PART if samples.shape[1] == 1 else _CLIPS_AT_ONCE

    def some(rows: Tensor, dice: Dice | None = None) -> Tensor:
        maps = []
        for part in rows.split(at_once):
            shown = to_unit(samples[part.cpu() // each].to(device).permute(0, 4, 1, 2, 3))
            turned = (part % each == 1).view(-1, 1, 1, 1, 1)
            maps.append(encode(tokenizer, torch.where(turned, shown.flip(-1), shown), rounds).to(torch.uint8))
        return torch.cat(maps)

    count = each * len(samples)
    if folder is None:
        return some(torch.arange(count, device=device))
    key = key_of(samples, tokenizer.fingerprint, rounds, each)
    return cached_maps(folder, key, count, 0, device, some)


def _places(captions: list[list[str]]) -> tuple[Tensor, Tensor]:
    """Where each sample's captions begin among all, and how many they are."""
    counts = torch.tensor([len(said) for said in captions])
    return counts.cumsum(0) - counts, counts
