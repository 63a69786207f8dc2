"""Training on two processes, as torchrun starts them: the same weights as on one, and they stop together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from grn.errors import ConfigError
from grn.media import write_image
from grn.training import processes
from grn.training.config import load_recipe
from grn.training.loop import Loop
from grn.training.run import train

RECIPES = {
    "tokenizer": """
kind = "tokenizer"
name = "t"
[network]
channels = 4
encoder_width = 4
decoder_width = 4
multipliers = [1, 1]
encoder_blocks = 1
decoder_blocks = 1
halves_time = [false]
time_kernel = 1
rounds = 2
[data]
size = 16
flip = true
[[data.sources]]
path = "pictures"
resize = [16, 20]
[run]
steps = 4
batch_size = 4
save_every = 2
log_every = 1
sheet_every = 100
[losses]
perceptual = 0.0
gan = 0.2
gan_start = 1
[rounds]
1 = 0.4
2 = 0.4
none = 0.2
""",
    "generator": """
kind = "generator"
name = "g"
tokenizer = "one/tokenizer/final"
[network]
kind = "class-to-image"
channels = 4
rounds = 2
width = 16
depth = 1
heads = 2
num_classes = 2
size = 4
bottleneck = 8
context_tokens = 1
context_start = 0
[data]
size = 16
[[data.sources]]
path = "pictures"
[run]
steps = 3
batch_size = 4
save_every = 2
log_every = 1
sheet_every = 100
[optimizer]
lr = 1e-2
[sampling]
steps = 2
""",
}

# What each of the two processes does: the second one alone is asked to stop in the middle of step 2, then both go on.
WORKER = """
import json, os, signal, sys
from pathlib import Path
import torch
from grn.errors import ConfigError
from grn.training import loop
from grn.training.config import load_recipe
from grn.training.run import train

torch.set_num_threads(1)
rank = int(os.environ["RANK"])
row = {"rank": rank, "reported": []}
report = lambda step, figures: row["reported"].append(step)
recipe = load_recipe(Path("tokenizer.toml"))
update = loop.Loop._update

def interrupted(self, parts, rate):
    if rank == 1 and self.step == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return update(self, parts, rate)

loop.Loop._update = interrupted
try:
    train(recipe, Path("two/tokenizer"), report)
except loop.Stopped as stop:
    row["stopped"] = stop.signum
loop.Loop._update = update
row["checkpoints"] = sorted(p.name for p in Path("two/tokenizer").glob("step-*"))
train(recipe, Path("two/tokenizer"), report)
train(load_recipe(Path("generator.toml")), Path("two/generator"), report)
try:
    train(load_recipe(Path("tokenizer.toml"), ["run.batch_size=3"]), Path("two/odd"), report)
except ConfigError as error:
    row["odd"] = str(error)
Path(f"{rank}.json").write_text(json.dumps(row))
"""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _two(folder: Path) -> list[dict]:
    environment = os.environ | {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": "1", "GRN_CACHE": str(folder / "cache-two"), "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=folder,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def _log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_and_stop_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "pictures" / ("left" if i % 2 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))
    for name, text in RECIPES.items():
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache-one"))
    for name in RECIPES:
        train(load_recipe(Path(f"{name}.toml")), Path("one") / name, lambda step, row: None)

    first, second = _two(tmp_path)
    assert first["stopped"] == second["stopped"] == 15
    assert first["checkpoints"] == second["checkpoints"] == ["step-00000002"]
    assert first["reported"] == [1, 2, 3, 4, 1, 2, 3]
    assert second["reported"] == []
    assert "run.batch_size 3 is not a multiple of the 2 processes" in first["odd"] == second["odd"]

    for name, last in (("tokenizer", "step-00000004"), ("generator", "step-00000003")):
        alone, shared = (load_file(tmp_path / run / name / last / "weights.safetensors") for run in ("one", "two"))
        start = torch.cat([value.flatten() for value in alone.values()])
        end = torch.cat([shared[key].flatten() for key in alone])
        torch.testing.assert_close(end, start, rtol=1e-4, atol=2e-5)
        losses = [
            [row[key] for row in _log(tmp_path / run / name) for key in ("l1", "loss", "discriminator") if key in row]
            for run in ("one", "two")
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
        assert (tmp_path / "two" / name / "final" / "model.safetensors").exists()
        assert not (tmp_path / "two" / name / "lock").exists()
    assert len(list((tmp_path / "cache-two" / "codes").iterdir())) == 1


def test_gradients_are_sent_in_buckets_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_BUCKET", 10)
    sizes = [4, 4, 4, 30, 1, 9]
    gradients = [torch.zeros(size) for size in sizes] + [torch.zeros(1, dtype=torch.bfloat16)]
    buckets = list(processes._buckets(gradients))
    assert [[g.numel() for g in bucket] for bucket in buckets] == [[4, 4], [4], [30], [1, 9], [1]]


def test_processes_that_resumed_from_different_checkpoints_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = object.__new__(Loop)
    loop.folder, loop.step, loop.accelerator = tmp_path, 3, None  # type: ignore[assignment]
    monkeypatch.setattr(processes, "largest", lambda accelerator, values: [5, values[1]])
    with pytest.raises(ConfigError, match="processes start from steps 3 to 5"):
        loop._check_start()
