"""A million captioned pictures in shards: memory and seconds of opening them and of going through a run's order.

Makes shards of captions and pictures of one pixel (kept with --keep), then, in a process of its own for each number of
samples, opens them as training does, twice, enters the order in the middle and reads samples. Exits 1 where a hundred times
as many samples take 300 MB more memory, or opening them again takes more than 10 seconds.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_IN_SHARD = 1000
_MOST_MORE = 300  # MB
_LONGEST = 10.0  # seconds


def make(folder: Path, samples: int) -> None:
    """Shards of pictures with a caption of 15 words each."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, 6))) for _ in range(1000)]
    for shard in range(-(-samples // _IN_SHARD)):
        path = folder / f"train-{shard:06d}.tar"
        if path.exists():
            continue
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(min(_IN_SHARD, samples - shard * _IN_SHARD)):
                caption = " ".join(words[i] for i in rng.integers(1000, size=15)).encode()
                for suffix, data in ((".png", file.getvalue()), (".txt", caption)):
                    info = tarfile.TarInfo(f"{shard:06d}{number:06d}{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        os.utime(path, (time.time() - 100,) * 2)  # as if it had been there for a while


def measure(folder: Path, samples: int) -> dict[str, float]:
    """Of this process: seconds of opening and of 2000 samples, and its memory."""
    from grn.training.config import DataConfig, SourceConfig
    from grn.training.mixture import MixedSource

    before = _memory()
    pattern = folder / f"train-{{000000..{-(-samples // _IN_SHARD) - 1:06d}}}.tar"
    data = DataConfig(sources=(SourceConfig(path=str(pattern)),), size=1, cache=0)
    start = time.monotonic()
    source = MixedSource(data, 0)
    opened = time.monotonic()
    assert len(source) == samples, f"{len(source)} samples"
    assert source.sources[0].captioned().all()
    numbers = source.order(7 * samples // 2, 2000)
    assert len({source[number].caption for number in numbers}) > min(1900, 0.9 * samples)
    for number in numbers[:100]:
        source.read(number)
    read = time.monotonic()
    return {"open": opened - start, "read": read - opened, "memory": _memory() - before}


def _memory() -> float:
    """The most that this process has held, MB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the shards are made and stay")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.keep, arguments.measure)))
        return 0
    if arguments.samples % (100 * _IN_SHARD):
        parser.error(f"--samples: expected a multiple of {100 * _IN_SHARD:,}")
    folder = arguments.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        make(folder, arguments.samples)
        found: dict[int, dict[str, float]] = {}
        environment = os.environ | {"GRN_CACHE": str(folder / "cache")}
        for samples in (arguments.samples // 100, arguments.samples):
            for time_ in ("first", "again"):
                command = [sys.executable, __file__, "--keep", folder, "--measure", samples]
                output = subprocess.run(
                    [str(one) for one in command], check=True, stdout=subprocess.PIPE, env=environment
                ).stdout
                found[samples] = json.loads(output)
                print(
                    f"{samples:,} samples, {time_} opened: {found[samples]['open']:.2f} s, then 2000 samples in the middle of epoch 4: "
                    f"{found[samples]['read']:.2f} s, {found[samples]['memory']:.0f} MB"
                )
        more = found[arguments.samples]["memory"] - found[arguments.samples // 100]["memory"]
        print(f"{arguments.samples:,} samples take {more:.0f} MB more than {arguments.samples // 100:,}")
        return int(more > _MOST_MORE or found[arguments.samples]["open"] > _LONGEST)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
