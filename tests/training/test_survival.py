"""Runs of several processes that are killed at random moments go on from their newest good checkpoint."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from helpers.processes import finish, start
from helpers.training import changed, class_recipe, log_rows, run, tokenizer_recipe

from grn.training.checkpoint import Checkpoints, read_manifest, verify_checkpoint
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe


def newest(folder: Path) -> int:
    """The step that the run would go on from; 0 where there is no checkpoint. ConfigError where there are bad ones alone."""
    path, _ = Checkpoints(folder).newest() if folder.exists() else (None, [])
    return 0 if path is None else read_manifest(path).step


def kill_at_random(recipe: TokenizerRecipe | GeneratorRecipe, folder: Path, kills: int) -> None:
    """Two processes write a checkpoint after every step; both are killed, or one of them, whose end the other must notice."""
    chance, reached, usual = random.Random(kills), 0, 0.0
    for kill in range(kills):
        began = time.monotonic()
        workers = start(recipe, folder, 2)
        if kill < 2:  # how long it takes to a new checkpoint; the first start of all takes longer
            while newest(folder) <= reached:
                assert all(worker.is_alive() for worker in workers)
                time.sleep(0.02)
            usual = time.monotonic() - began
        time.sleep(chance.uniform(0, 0.3) * usual if kill < 2 else chance.uniform(0.3, 1.6) * usual)
        victims = chance.choice([workers, workers[:1], workers[1:]])
        for victim in victims:
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
        codes = finish(workers, 60)
        assert None not in codes, "a process waits for a dead one"
        assert 0 not in codes
        found = newest(folder)
        assert found >= max(reached, 1), f"kill {kill}: back from step {reached} to {found}"
        reached = found
    assert finish(start(changed(recipe, {"run.steps": reached + 2}), folder, 2)) == [0, 0]
    assert (folder / "final" / "model.safetensors").exists()
    assert log_rows(folder)[-1]["step"] == reached + 2
    assert not list(folder.glob("*.tmp-*"))


ENDLESS = {"run.steps": 10**6, "run.save_every": 1, "run.batch_size": 4, "run.ema": 0.9}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_20_kills_at_random_moments_of_two_processes(place: Path, parallel: str) -> None:
    """Of each kind of parallelism: 40 in all."""
    kill_at_random(changed(class_recipe("pictures", "tokenizer"), ENDLESS | {"run.parallel": parallel}), Path("a"), 20)


def test_a_killed_process_ends_the_run_which_goes_on(place: Path) -> None:
    kill_at_random(changed(tokenizer_recipe("pictures"), ENDLESS), Path("a"), 1)


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_two_processes_outlive_a_full_disk_and_an_emptied_checkpoint(place: Path, parallel: str) -> None:
    recipe = changed(class_recipe("pictures", "tokenizer"), ENDLESS | {"run.steps": 3, "run.parallel": parallel})
    folder, writer = Path("a"), 0 if parallel == "ddp" else 1  # of a sharded run every process writes
    run(recipe, folder)
    longer = changed(recipe, {"run.steps": 5})
    assert finish(start(longer, folder, 2, {writer: 100_000}), 60) == [1, 1]
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000002", "step-00000003"]
    largest = max((folder / "step-00000003").rglob("*.*"), key=lambda path: path.stat().st_size)
    assert largest.stat().st_size > 100_000
    largest.write_bytes(b"")
    assert newest(folder) == 2
    assert finish(start(longer, folder, 2)) == [0, 0]
    assert [row["step"] for row in log_rows(folder)] == [1, 2, 3, 4, 3, 4, 5]
    assert newest(folder) == 5
    assert verify_checkpoint(folder / "step-00000005") is None
