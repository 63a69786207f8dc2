"""The authors' published weights -> model folders.

What a file is stands in `grn.hub.infer`, the tables of renames in `grn.hub.renames`, reading a checkpoint in
`grn.hub.checkpoint`, how a published model is sampled in `grn.hub.registry`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from grn.errors import ConfigError, EnvironmentFaultError, ModelMismatchError, ModelNotFoundError, UndecidedError
from grn.files import display
from grn.hub import registry
from grn.hub.checkpoint import Checkpoint
from grn.hub.infer import PUBLISHED_ROUNDS, NetworkConfig, infer_config, recognise
from grn.hub.renames import rename
from grn.models.config import MODELS
from grn.models.folder import NETWORKS, save_model
from grn.models.tensors import VOCABULARY, compare, summary
from grn.networks.generator_config import TextAttention, TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.refine.config import SamplerConfig

_TITAN_WIDTH = 4096  # of the 8B text models


@dataclass(frozen=True)
class Hints:
    """What a checkpoint's keys and shapes do not tell; None: as its name does.

    channels (of a generator), rounds, context_start: as in `infer_config`. text_attention: of a text model. like: the
    known model that a generator is sampled as. vocabulary: a text encoder's tokenizer.json, or the folder that it is
    in; looked for beside the checkpoint if None.
    """

    channels: int | None = None
    rounds: int = PUBLISHED_ROUNDS
    context_start: int | None = None
    text_attention: TextAttention | None = None
    like: str | None = None
    vocabulary: Path | None = None


class Converted(NamedTuple):
    """What a checkpoint was.

    family: as `recognise` says. where: the state that was taken, see `Checkpoint`. like: the known model whose settings
    it was given, None where it has none. text_attention: of a text model.
    """

    family: str
    where: str
    like: str | None
    text_attention: str | None


def convert(path: Path, folder: Path, name: str, hints: Hints = Hints()) -> Converted:
    """Write a published checkpoint, a file or a folder of shards, as a model folder, a tensor at a time.

    Raises ModelMismatchError for anything but a published checkpoint, UndecidedError where a hint is needed, and
    ModelNotFoundError for a text encoder without a vocabulary.
    """
    state = Checkpoint(path)
    try:
        family = recognise(state)
        shapes = state.shapes()
        # Of these alone the values count too.
        facts = {**shapes, **{key: state[key] for key in shapes if key.removeprefix("net.") == "pos_embed"}}
        file = state.name
        attention = _text_attention(file, name, hints) if family == "text-to-visual" else None
        config = infer_config(family, facts, hints.channels, hints.rounds, hints.context_start, attention or "one-way")
        with torch.device("meta"):
            network = NETWORKS[family](config)
        renamed = rename(family, shapes)
        compare(path, network.state_dict(), {key: summary(renamed[key]) for key in renamed})
        like = _like(config, family, file, name, hints) if family in registry.GENERATORS else None
    except (ModelMismatchError, ConfigError) as error:
        message = str(error).removeprefix(f"{display(path)}: ")
        error.args = (f"{display(path)}: {message}",)
        raise
    settings = _settings(like, file, attention) if like is not None else {}
    files = {}
    if family == "text-encoder":
        files[VOCABULARY] = _vocabulary(path, hints.vocabulary)
        settings["vocabulary_sha256"] = hashlib.sha256(files[VOCABULARY]).hexdigest()
    whole = MODELS[family](name=name, network=config, **settings)
    save_model(folder, whole, rename(family, state), _dtype(shapes), _card(name, path, state.where), files=files)
    return Converted(family, state.where, like.name if like else None, attention)


def _text_attention(file: str, name: str, hints: Hints) -> TextAttention:
    """How the text of a text model attends: as told, by the file's name, by the model's, or as all files of the one that it
    is like. UndecidedError.
    """
    if hints.text_attention is not None:
        return hints.text_attention
    entry = registry.of_file(file)
    published = entry.published(file) if entry else None
    if published is not None and published.text_attention is not None:
        return published.text_attention
    if registry.says_joint(file):
        return "joint"
    preset = PRESETS.get(name)
    if isinstance(preset, TextToVisualConfig):
        return preset.text_attention
    alike = (
        {one.text_attention for one in registry.ENTRIES[hints.like].files} if hints.like in registry.ENTRIES else set()
    )
    if len(alike) == 1 and (found := alike.pop()) is not None:
        return found
    raise UndecidedError(
        "a text model whose name is not known: nothing in it tells whether its text attention is joint or one-way",
        "text_attention",
        ("joint", "one-way"),
    )


def _like(config: NetworkConfig, family: str, file: str, name: str, hints: Hints) -> registry.Entry:
    """The known model whose settings a generator gets: as told, by name, by its dimensions, or by its task."""
    if hints.like is not None and hints.like not in registry.names(family):
        raise ModelMismatchError(f"a {family} model cannot be like {hints.like} (expected {_names(family)})")
    known = hints.like or (name if name in registry.names(family) and registry.ENTRIES[name].repo else None)
    found = registry.ENTRIES[known] if known else registry.of_file(file)
    if found is not None:
        return found
    if family == "class-to-image":
        depths = {PRESETS[entry].depth: entry for entry in registry.names(family)}
        return registry.ENTRIES[depths.get(getattr(config, "depth", 0), "grn-b")]
    task = registry.says_task(file)
    if task is None:
        raise UndecidedError("a text model of a task that its name does not tell", "like", tuple(_published(family)))
    if getattr(config, "width", 0) == _TITAN_WIDTH:
        return registry.ENTRIES["grn-8b-t2i" if task == "t2i" else "grn-8b"]
    return registry.ENTRIES[f"grn-{task}"]


def _published(family: str) -> list[str]:
    return [name for name in registry.names(family) if registry.ENTRIES[name].repo]


def _names(family: str) -> str:
    return ", ".join(_published(family))


def _settings(entry: registry.Entry, file: str, attention: TextAttention | None) -> dict[str, Any]:
    """What of a generator's entry its model folder says too; of a file by another name, as the published one like it."""
    alike = [one for one in entry.files if one.text_attention == attention]
    published = entry.published(file) or next(iter(alike), None)
    trained = published is not None and published.tagged
    clips = {"frames": entry.frames, "most_frames": entry.frames, "fps": entry.fps} if entry.fps else {}
    words = {name: getattr(entry, name) for name in ("prompt_tag", "image_prompt_tag", "presets")} if trained else {}
    return {
        "sampling": SamplerConfig(**{**entry.sampling, **(published.sampling if published else {})}),
        "size": entry.size,
        "tokenizer": entry.tokenizer,
        "text_encoder": entry.text_encoder,
        **clips,
        **{name: found for name, found in words.items() if found},
    }


def _dtype(shapes: Mapping[str, Tensor]) -> torch.dtype:
    """The type that weights are stored in: as published where they are all of one 16-bit type, else float32."""
    types = {tensor.dtype for tensor in shapes.values() if tensor.is_floating_point()}
    return types.pop() if len(types) == 1 and types <= {torch.float16, torch.bfloat16} else torch.float32


def _card(name: str, path: Path, where: str) -> str:
    taken = f", its `{where}` weights" if where else ""
    return f"# {name}\n\nConverted from `{path.name}`{taken}, as published by the authors.\n"


def _vocabulary(path: Path, given: Path | None) -> bytes:
    """The text encoder's tokenizer.json."""
    beside = (path.parent / VOCABULARY, path.parent / "umt5-xxl" / VOCABULARY)
    places = beside if given is None else (given / VOCABULARY if given.is_dir() else given,)
    for place in places:
        try:
            return place.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise EnvironmentFaultError(
                f"{display(place)}: cannot be read ({error.strerror or error}); check the file"
            ) from error
    looked = " and ".join(display(place) for place in places)
    raise ModelNotFoundError(
        f"{display(path)}: a text encoder needs its {VOCABULARY}, and there is none (looked for {looked})",
        name=str(path),
        lack="vocabulary",
    )
