"""What each of several processes does that torch.distributed joins, forked from one that has imported everything."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

import grn.devices
from grn.errors import ConfigError
from grn.training.engine import Engine
from grn.training.loop import Stopped
from grn.training.recipe import Recipe
from grn.training.run import train
from grn.training.tokenizer import TokenizerTask
from helpers.forked import context
from helpers.processes import finish, free_port

Work = Callable[[], dict[str, Any]]


def on_processes(count: int, folder: Path, work: Work) -> list[dict[str, Any]]:
    """Call a function in so many processes, which stand in the folder; what it returned in each."""
    environment = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", "GRN_CACHE": str(folder / "cache-many"),
    }  # fmt: skip
    workers = [context().Process(target=_work, args=(rank, environment, folder, work)) for rank in range(count)]
    for worker in workers:
        worker.start()
    assert finish(list(workers), 240) == [0] * count
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def _work(rank: int, environment: dict[str, str], folder: Path, work: Work) -> None:
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    os.chdir(folder)
    torch.set_num_threads(1)
    grn.devices.multiplies_bfloat16 = lambda: False  # as in the tests' process: the same on every processor
    Path(f"{rank}.json").write_text(json.dumps(work()))


def recipes() -> dict[str, Any]:
    """Those of recipes.json in the current folder, by name."""
    tree = json.loads(Path("recipes.json").read_text())
    return {name: TypeAdapter(Recipe).validate_python(recipe) for name, recipe in tree.items()}


def train_interrupted() -> dict[str, Any]:
    """Train every recipe, the first of them interrupted in the second process alone."""
    rank = int(os.environ["RANK"])
    said: dict[str, Any] = {"reported": []}
    losses, sent, all_recipes = TokenizerTask.losses, [], recipes()
    said["looks"] = looks = {}
    distribute = Engine.distribute

    def noted(self: Any, modules: Any, calls: Any, partly_used: Any) -> None:
        distribute(self, modules, calls, partly_used)
        looks[current] = {name: m.find_unused_parameters for name, m in calls.items() if hasattr(m, "reducer")}

    Engine.distribute = noted  # type: ignore[method-assign]
    current = "tokenizer"

    def report(step: int, row: Any) -> None:
        said["reported"].append(step)

    def interrupted(self: Any, batch: Any, step: int) -> Any:
        if rank == 1 and step == 1 and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, batch, step)

    TokenizerTask.losses = interrupted  # type: ignore[method-assign]
    try:
        train(all_recipes["tokenizer"], Path("two/tokenizer"), report)
    except Stopped as stop:
        said["stopped"] = stop.signum
    TokenizerTask.losses = losses  # type: ignore[method-assign]
    said["checkpoints"] = sorted(path.name for path in Path("two/tokenizer").glob("step-*"))
    for current, recipe in all_recipes.items():
        train(recipe, Path("two") / current, report)
    Engine.distribute = distribute  # type: ignore[method-assign]
    run = all_recipes["tokenizer"].run.model_copy(update={"batch_size": 6})
    try:
        train(all_recipes["tokenizer"].model_copy(update={"run": run}), Path("two/odd"), report)
    except ConfigError as error:
        said["odd"] = str(error)
    return said


def train_in_two_goes() -> dict[str, Any]:
    """Train every recipe to step 4, and from its checkpoint to step 6."""
    for name, recipe in recipes().items():
        for steps in (4, 6):
            run = recipe.run.model_copy(update={"steps": steps})
            train(recipe.model_copy(update={"run": run}), Path("two") / name, lambda step, row: None)
    return {}
