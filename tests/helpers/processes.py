"""Training in several processes that torch.distributed joins, forked from one that has imported everything."""

import multiprocessing as mp
import os
import resource
import socket
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from grn.training.recipe import GeneratorRecipe, TokenizerRecipe


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(
    recipe: TokenizerRecipe | GeneratorRecipe, run: Path, count: int, full: dict[int, int] | None = None
) -> list[BaseProcess]:
    """Begin, or go on with, a run in so many processes; relative paths in the recipe are of the current folder.

    full: by number of process, how many bytes a file of it takes before the disk is said to be full.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["grn.training.run", "accelerate.utils", "helpers.training"])
    environment = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", "GRN_CACHE": os.environ["GRN_CACHE"],
    }  # fmt: skip
    tree = recipe.model_dump(mode="json")
    workers: list[BaseProcess] = [
        context.Process(
            target=_work, args=(rank, environment, Path.cwd(), tree, run, (full or {}).get(rank)), daemon=True
        )
        for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    return workers


def finish(workers: list[BaseProcess], seconds: float = 300) -> list[int | None]:
    """Wait for all; their exit codes, None for one that does not end in time (and is killed)."""
    for worker in workers:
        worker.join(seconds)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    return codes


def _work(
    rank: int, environment: dict[str, str], folder: Path, tree: dict[str, Any], run: Path, full: int | None
) -> None:
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    os.chdir(folder)
    import torch
    from pydantic import TypeAdapter

    from grn.training.recipe import Recipe
    from grn.training.run import train

    torch.set_num_threads(1)
    if full is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    recipe: TokenizerRecipe | GeneratorRecipe = TypeAdapter(Recipe).validate_python(tree)
    train(recipe, run, lambda step, row: None)
