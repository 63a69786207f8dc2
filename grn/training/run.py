"""From a recipe to a trained model folder."""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import BaseModel

from grn.data.shards import Progress
from grn.devices import checked, fast_type
from grn.errors import ConfigError, GrnError, ModelMismatchError
from grn.files import cannot_write, locked
from grn.hub.resolve import resolve
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.inflate import INFLATED_KEYS, can_inflate, inflate
from grn.networks.text_to_visual import TextToVisual
from grn.text.encoder import TextEncoder, load_text_encoder
from grn.text.learnt import read_words
from grn.tokenizer import Tokenizer
from grn.training.engine import Engine
from grn.training.estimate import Estimate, check_memory, estimate
from grn.training.generator import GeneratorTask, check_fit
from grn.training.generator_data import check_classes
from grn.training.loop import Loop
from grn.training.mixture import MixedSource
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, save_recipe
from grn.training.tokenizer import TokenizerTask

_log = logging.getLogger("grn")
Report = Callable[[int, dict[str, float]], None]


def train(
    recipe: TokenizerRecipe | GeneratorRecipe,
    folder: Path,
    report: Report,
    *,
    resume: Path | None = None,
    progress: Progress = iter,
    stop_after: float = math.inf,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train `recipe` in the run folder, from `resume` or its newest checkpoint; the model is in folder/final when it is done.

    Under torchrun every process calls this, and shares the work; `report` (every `run.log_every` steps) and `on_step` are called in the
    first one. stop_after: seconds after which to stop with a checkpoint. Damaged checkpoints that were passed over, settings that a resumed
    run has changed and steps that were skipped are said in the log "grn".

    Raises BusyError where another process has the folder, Stopped on a signal, TrainingDivergedError, ConfigError for a setting that a run
    cannot change, and what reading data and models raises.
    """
    engine = Engine(recipe.run.parallel, recipe.run.trackers, folder / "trackers")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with locked(folder / "lock") if engine.first else nullcontext():
        task = _task(recipe, progress, engine)
        _log.info(
            "%s: %d samples", recipe.name, task.samples
        )  # which opens them, before other processes of this one would
        loop = Loop(task, recipe, folder, engine)  # type: ignore[misc]
        notes = loop.resume(resume)
        if recipe.run.lowered(engine.device.type) and fast_type(engine.device) == torch.float32:
            notes = [
                *notes,
                f"run.precision bfloat16: {engine.device} is several times faster in float32; leave it out",
            ]
        if engine.first:
            for note in notes:
                _log.warning(note)
            save_recipe(recipe, folder / "run.toml")
        loop.run(report, stop_after, on_step)


def parameters(recipe: TokenizerRecipe | GeneratorRecipe) -> int:
    """Number of weights that a recipe trains in its model, without allocating them."""
    with torch.device("meta"):
        return sum(p.numel() for p in _network(recipe).parameters())


def check(recipe: TokenizerRecipe | GeneratorRecipe) -> int:
    """Open the data and the models that a run starts from; how many samples there are. Nothing is trained or encoded.

    Raises what reading data and models raises, and ModelMismatchError where the parts do not fit.
    """
    if recipe.run.init is not None:
        resolve(str(recipe.run.init), kind=recipe.kind)
    if isinstance(recipe, GeneratorRecipe):
        check_fit(recipe, Tokenizer.from_pretrained(recipe.tokenizer), _text_encoder(recipe, torch.device("cpu")))
    data = MixedSource(recipe.data, recipe.run.seed)
    if isinstance(recipe.network, ClassToImageConfig):
        for source, place in zip(data.sources, recipe.data.sources, strict=True):
            check_classes(source, place.path, recipe.network.num_classes)
    return len(data)


def measure(recipe: TokenizerRecipe | GeneratorRecipe) -> Estimate:
    """Memory and time that a run would take, from a few steps on made-up samples, compiled on a GPU alone; see `estimate`.

    Raises what reading models raises, ConfigError where the batch cannot be shared, EnvironmentFaultError for too little memory.
    """
    compiling = recipe.run.compile if torch.cuda.is_available() else "off"
    run = recipe.run.model_copy(update={"compile": compiling, "distance_every": 0})
    recipe = recipe.model_copy(update={"run": run})
    engine = Engine(run.parallel)
    check_memory(parameters(recipe), recipe.run, engine)
    with TemporaryDirectory() as folder:
        return estimate(Loop(_task(recipe, iter, engine), recipe, Path(folder), engine))


def _text_encoder(recipe: GeneratorRecipe, device: torch.device) -> TextEncoder | None:
    if recipe.text_encoder is None:
        return None
    if recipe.text_device is not None:
        try:
            device = checked(recipe.text_device)
        except GrnError as error:
            raise ConfigError(f"text_device: {error}") from error
    dtype = torch.bfloat16 if recipe.run.lowered(device.type) else None
    return load_text_encoder(resolve(str(recipe.text_encoder), kind="text-encoder").folder, str(device), dtype)


def _network(recipe: TokenizerRecipe | GeneratorRecipe) -> CausalAutoencoder | ClassToImage | TextToVisual:
    if isinstance(recipe, TokenizerRecipe):
        return CausalAutoencoder(recipe.network)
    if isinstance(recipe.network, ClassToImageConfig):
        return ClassToImage(recipe.network)
    return TextToVisual(recipe.network)


def _task(
    recipe: TokenizerRecipe | GeneratorRecipe, progress: Progress, engine: Engine
) -> TokenizerTask | GeneratorTask:
    torch.manual_seed(recipe.run.seed)  # the initial weights
    network = _network(recipe)
    _start_from(network, recipe.run.init, recipe.kind)
    if isinstance(recipe, TokenizerRecipe):
        assert isinstance(network, CausalAutoencoder)
        return TokenizerTask(recipe, network)
    assert not isinstance(network, CausalAutoencoder)
    tokenizer = Tokenizer.from_pretrained(recipe.tokenizer, str(engine.device))
    text = _text_encoder(recipe, engine.device)
    learnt = (
        frozenset() if recipe.run.init is None else read_words(resolve(str(recipe.run.init), kind=recipe.kind).folder)
    )
    return GeneratorTask(recipe, network, tokenizer, text, progress, (engine.processes, engine.process), learnt)


def _start_from(network: Any, name: Path | str | None, kind: str) -> None:
    """Take over a model's weights; those of an image tokenizer by a joint one too. ModelMismatchError where they do not fit."""
    if name is None:
        return
    model = resolve(str(name), kind=kind).open()
    if isinstance(network, CausalAutoencoder):
        image = model.config.network
        if can_inflate(image, network.config):
            smaller = CausalAutoencoder(image)
            model.load_weights(smaller)
            inflate(smaller.state_dict(), network)
            return
        _compare(image, network.config.model_dump(mode="json", exclude={"rounds"}), model.path)
    else:
        _compare(model.config.network, network.config.model_dump(mode="json", exclude={"kind"}), model.path)
    model.load_weights(network)


def _compare(network: BaseModel, wanted: dict[str, Any], folder: Path) -> None:
    stored = network.model_dump(mode="json")
    for key, value in wanted.items():
        if key in stored and stored[key] != value:
            more = "; to start from an image tokenizer, with network.folds_time = false" if key in INFLATED_KEYS else ""
            raise ModelMismatchError(
                f"{folder}: has {key} {stored[key]} and the recipe {value}; change network.{key} in the recipe{more}"
            )
