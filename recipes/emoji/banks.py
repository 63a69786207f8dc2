"""Training pictures and clips as arrays in the device's memory: decoded once, cropped there, nothing read twice.

Axes: a bank is uint8 [N, T, S, S, 3] (T = 1: pictures); crops are float [B, 3, T, c, c] in [-1, 1].
"""

import io
import multiprocessing
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageSequence
from torch import Tensor

from grn.errors import BadInputError
from grn.media.pixels import to_unit

PICTURES = (".png", ".jpg", ".webp")
_AT_ONCE = 8  # files that a process decodes before it fetches more


@dataclass(frozen=True)
class Dice:
    """The randomness of one step: decisions that the processor takes, and numbers drawn where the data lie (nothing then waits for the device)."""

    host: torch.Generator
    device: torch.Generator

    @classmethod
    def of(cls, seed: int, step: int, device: torch.device) -> "Dice":
        """That of a run's step, the same however often it is made."""
        # A processor's generator takes the last 32 bits of its seed and forgets the others.
        number = int(np.random.SeedSequence(seed, spawn_key=(step,)).generate_state(1)[0])
        return cls(torch.Generator().manual_seed(number), torch.Generator(device).manual_seed(number))

    def below(self, top: int) -> int:
        """A whole number in [0, top), for the processor."""
        return int(torch.randint(top, (), generator=self.host))

    def chance(self) -> float:
        """A number in [0, 1), for the processor."""
        return float(torch.rand((), generator=self.host))


@dataclass(frozen=True)
class Bank:
    """All samples of one source on the device.

    samples: uint8 [N, T, S, S, 3]; resize: (least, greatest) short side in pixels that a picture is shown at before a crop is cut, as in a recipe.
    share: how often it is drawn from, in relation to the other banks.
    """

    samples: Tensor
    resize: tuple[int, int]
    share: float

    @property
    def moves(self) -> bool:
        """Whether it holds clips."""
        return self.samples.shape[1] > 1


def read_files(path: Path) -> list[bytes]:
    """The picture and animation files of a .tar or .tar.xz, in its order.

    Raises BadInputError where the archive cannot be read or holds none.
    """
    try:
        with tarfile.open(path) as archive:
            files = [archive.extractfile(m) for m in archive if m.isfile() and m.name.endswith(PICTURES)]
            found = [file.read() for file in files if file is not None]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInputError(f"{path}: not a readable tar of pictures ({error})") from error
    if not found:
        raise BadInputError(f"{path}: expected files that end in {', '.join(PICTURES)}, found none")
    return found


def decode(data: bytes, side: int, frames: int) -> np.ndarray:
    """A file's first frames -> uint8 [frames, side, side, 3]: the centre square, scaled; transparent pixels on white.

    An animation with fewer frames stays at its last one.
    """
    with Image.open(io.BytesIO(data)) as picture:
        shown = [_on_white(frame) for frame, _ in zip(ImageSequence.Iterator(picture), range(frames), strict=False)]
    size = min(shown[0].size)
    left, top = (shown[0].width - size) // 2, (shown[0].height - size) // 2
    box = (left, top, left + size, top + size)
    arrays = [np.asarray(frame.resize((side, side), Image.Resampling.LANCZOS, box=box)) for frame in shown]
    return np.stack(arrays + [arrays[-1]] * (frames - len(arrays)))


def _on_white(frame: Image.Image) -> Image.Image:
    if not frame.has_transparency_data:
        return frame.convert("RGB")
    layer = frame.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _decode_task(task: tuple[bytes, int, int]) -> np.ndarray:
    return decode(*task)


def read_bank(path: Path, side: int, frames: int, processes: int, limit: int | None = None) -> Tensor:
    """A tar's samples, uint8 [N, frames, side, side, 3], decoded by so many processes (at most `limit` samples)."""
    tasks = [(data, side, frames) for data in read_files(path)[:limit]]
    out = torch.empty((len(tasks), frames, side, side, 3), dtype=torch.uint8)
    if processes == 1:
        decoded = map(_decode_task, tasks)
        for place, array in enumerate(decoded):
            out[place] = torch.from_numpy(array)
        return out
    with multiprocessing.Pool(processes) as pool:
        for place, array in enumerate(pool.imap(_decode_task, tasks, chunksize=_AT_ONCE)):
            out[place] = torch.from_numpy(array)
    return out


def cut(bank: Bank, count: int, size: int, frames: int, dice: Dice) -> Tensor:
    """`count` random crops [count, 3, frames, size, size]: all shown at one random scale of the bank's, each at its own place and moment."""
    samples, device = bank.samples, bank.samples.device
    n, length, side = samples.shape[:3]

    def draw(top: int) -> Tensor:
        return torch.randint(top, (count,), generator=dice.device, device=device)

    low, high = bank.resize
    shown = low + dice.below(high - low + 1)
    whole = min(side, round(size * side / shown))  # pixels of the bank that become `size`
    which, y, x, start = draw(n), draw(side - whole + 1), draw(side - whole + 1), draw(length - frames + 1)
    line, time = torch.arange(whole, device=device), torch.arange(frames, device=device)
    rows, columns = (y[:, None] + line)[:, None, :, None], (x[:, None] + line)[:, None, None, :]
    moments = (start[:, None] + time)[:, :, None, None]
    pixels = samples[which[:, None, None, None], moments, rows, columns]  # [B, T, H, W, 3]
    pixels = to_unit(pixels.permute(0, 1, 4, 2, 3))
    if whole != size:
        pixels = F.interpolate(pixels.flatten(0, 1), (size, size), mode="bilinear", antialias=True)
        pixels = pixels.unflatten(0, (count, frames))
    return pixels.transpose(1, 2).contiguous()


def divide(count: int, shares: Sequence[float], dice: Dice) -> list[int]:
    """`count` divided among shares at random: right in the mean, whole parts always, what is left over by chance."""
    exact = torch.tensor(shares, dtype=torch.float64)
    exact = exact / exact.sum() * count
    parts = exact.floor()
    left = count - int(parts.sum())
    if left:
        parts[torch.multinomial((exact - parts).clamp(min=1e-9), left, generator=dice.host)] += 1
    return [int(part) for part in parts.tolist()]
