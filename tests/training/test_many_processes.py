"""Two and four processes train as one does, with both kinds of parallelism, and go on with one another's checkpoints."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.processes import finish, start
from helpers.training import caption, changed, log_rows, make_pictures, recipe_text, run, text_recipe, tokenizer_recipe

from grn.media import write_image

pytestmark = pytest.mark.slow
STEPS, HALF = 20, 10


def losses(folder: Path, first: int = 1) -> list[float]:
    rows = {row["step"]: row["loss"] for row in log_rows(folder)}
    return [rows[step] for step in range(first, STEPS + 1)]


def begin_at(step: int, before: Path, after: Path) -> Path:
    """A run folder with another one's checkpoint of a step."""
    name = f"step-{step:08d}"
    shutil.copytree(before / name, after / name)
    return after


def test_four_processes_train_as_one_and_one_and_two_go_on(place: Path) -> None:
    pictures = make_pictures(place / "pictures")
    write_image(pictures / "left" / "1.png", np.zeros((20, 20, 3), np.uint8))  # a square among wide ones
    caption(pictures)
    recipe = changed(
        text_recipe("pictures", "tokenizer", "words"),
        {
            "data.sizes": [[16, 16], [20, 16]], "run.steps": STEPS, "run.batch_size": 8, "run.accumulate": 2,
            "run.save_every": HALF, "run.ema": 0.9, "optimizer.decay_steps": 0, "optimizer.final_lr": 1.0,
        },
    )  # fmt: skip
    run(recipe, Path("one"))
    expected = losses(Path("one"))
    assert expected[-1] < expected[0]
    spread = changed(recipe, {"run.parallel": "fsdp"})
    for name, kind in (("ddp", recipe), ("fsdp", spread)):
        assert finish(start(kind, Path(name), 4)) == [0] * 4
        assert losses(Path(name)) == pytest.approx(expected, abs=1e-4)
        run(kind, begin_at(HALF, Path(name), Path(f"{name}-on-one")))
        assert losses(Path(f"{name}-on-one"), HALF + 1) == pytest.approx(expected[HALF:], abs=1e-4)
        assert finish(start(kind, begin_at(HALF, Path(name), Path(f"{name}-on-two")), 2)) == [0, 0]
        assert losses(Path(f"{name}-on-two"), HALF + 1) == pytest.approx(expected[HALF:], abs=1e-4)
    # A checkpoint that one process has written whole is spread over those that go on with it.
    assert finish(start(spread, begin_at(HALF, Path("one"), Path("spread")), 2)) == [0, 0]
    assert losses(Path("spread"), HALF + 1) == pytest.approx(expected[HALF:], abs=1e-4)


def command(steps: int) -> list[str]:
    """The command that trains a recipe of so many steps."""
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": steps, "run.save_every": 2})
    Path("tiny.toml").write_text(recipe_text(recipe))
    return ["-m", "grn_cli", "train", "tiny.toml", "-q"]


def test_torchrun_restarts_after_a_death(place: Path) -> None:
    train = command(40)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", *launcher, *train, "-o", "a", "--set", "run.batch_size=4"]
    ) as torchrun:
        while not list(Path("a").glob("step-????????")):
            assert torchrun.poll() is None
            time.sleep(0.05)
        worker = psutil.Process(torchrun.pid).children()[-1]
        worker.send_signal(signal.SIGKILL)
        assert torchrun.wait(300) == 0
    steps = [row["step"] for row in log_rows(Path("a"))]
    assert steps[-1] == 40
    assert steps.count(1) == 1  # it went on, and did not start over


def test_accelerate_launches(place: Path) -> None:
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    options = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    line = [sys.executable, "-m", *launch, *options, *command(2), "-o", "b"]
    subprocess.run(line, check=True, timeout=300)
    assert Path("b/final/model.safetensors").exists()
