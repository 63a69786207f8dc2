"""`grn models`: which models there are, where one is, fetching, converting and calibrating one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.evaluate_options import EMOJI, SET, KeepOptions
from grn_cli.options import Common, PartOptions, command

if TYPE_CHECKING:
    from grn.hub.registry import Entry
    from grn.hub.resolve import Resolved

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known name, a model folder, or OWNER/MODEL on the hub.")]


@command
def list_models(common: Common) -> None:
    """List the models known by name.

    Each is embedded (comes with the package), on disk, fetched (converted when it is first used), to be pulled, or not
    published.
    """
    from grn.hub import registry

    for entry in registry.ENTRIES.values():
        state, size = _state(entry)
        record = {
            "name": entry.name,
            "kind": entry.kind,
            "state": state,
            "bytes": size or None,
            "licence": entry.licence,
            "summary": entry.summary,
        }
        line = f"{entry.name:16} {state:13} {_readable(size):>8}  {entry.kind:15} {entry.summary}"
        common.console.result(record, f"{line}; licence: {entry.licence}")


@command
def show(name: Name, common: Common) -> None:
    """Show where a model is found and what it is.

    Nothing is fetched: a model that is not here is reported with the places searched.
    """
    from grn.hub.resolve import resolve
    from grn.models.folder import load_config

    found = resolve(name, offline=True)
    config = load_config(found.folder)
    size = _weight(found.folder)
    record = {"name": name, "folder": str(found.folder), "source": found.source, "bytes": size, "config": config}
    common.console.result(record, *_description(found, config, size))


@command
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Known names, or OWNER/MODEL.")], common: Common
) -> None:
    """Fetch a model from the hub, once.

    A generator's tokenizer and text encoder come with it. Prints the folder that it is in; a model that is here
    already is left as it is.
    """
    from grn.hub.resolve import resolve
    from grn_cli.errors import Batch

    batch = Batch(alone=len(names) == 1)
    for name in names:
        with batch.item():
            found = resolve(name, offline=common.offline)
            common.console.detail(f"{name}: {found.source}; looked in {', '.join(found.looked_in)}")
            for part in _parts(found):
                resolve(part, offline=common.offline)
            record = {"name": name, "folder": str(found.folder), "source": found.source}
            common.console.result(record, str(found.folder))
    batch.finish()


@dataclass(frozen=True)
class ConvertOptions:
    """What `grn models convert` cannot tell from the tensors' shapes."""

    name: Annotated[
        str | None,
        typer.Option("--name", help="The model's name; a known one brings its sampling settings. [FOLDER's]"),
    ] = None
    channels: Annotated[
        int | None,
        typer.Option("--channels", min=1, metavar="C", help="Of a generator's codes; tried as published if not given."),
    ] = None
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=16, metavar="1..16", help="Quantization rounds.")] = 4
    context_start: Annotated[
        int | None,
        typer.Option(
            "--context-start", min=0, metavar="N", help="Block from which class tokens join; as published if not given."
        ),
    ] = None
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            metavar="FILE|FOLDER",
            help="A text encoder's tokenizer.json; looked for beside FILE if not given.",
        ),
    ] = None


@command
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint as the authors publish it (.pth, .ckpt).")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Model folder to write.")],
    options: ConvertOptions,
    common: Common,
) -> None:
    """Turn a published checkpoint into a model folder.

    Its kind is told by its keys and shapes; averaged (EMA) weights are preferred where the file has them. The file is
    read as data only: one that would run code is refused. Prints the folder.
    """
    from grn.errors import UsageError
    from grn.hub import convert

    if out.exists() and not common.force:
        raise UsageError(f"{out}: exists already; choose another folder, or --force to overwrite it")
    name = options.name or out.resolve().name
    hints = (options.channels, options.rounds, options.context_start, options.vocabulary)
    family, where, like = convert.convert(file, out, name, *hints)
    taken = f", its {where} weights" if where else ""
    settings = f"; settings of {like}" if like else ""
    common.console.info(f"{file}: a {family.replace('-', ' ')}{taken}{settings}")
    record = {"name": name, "folder": str(out), "kind": family, "state": where or None, "settings": like}
    common.console.result(record, str(out))


@dataclass(frozen=True)
class CalibrateOptions(KeepOptions):
    """What complexity-aware sampling is calibrated on, and for."""

    captions: Annotated[
        Path, typer.Option("--captions", metavar=SET, help="Prompts to measure; not used for class models.")
    ] = EMOJI / "train.tar"
    num: Annotated[int, typer.Option("--num", "-n", min=2, metavar="N", help="How many prompts.")] = 500
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0
    k: Annotated[float, typer.Option("--k", help="Steps for each unit of entropy.")] = 600.0
    mean: Annotated[float, typer.Option("--mean", help="Mean number of steps wanted.")] = 40.0
    tmin: Annotated[int | None, typer.Option("--tmin", min=1, help="Fewest steps; the model's own if not given.")] = (
        None
    )
    tmax: Annotated[int | None, typer.Option("--tmax", min=1, help="Most steps; the model's own if not given.")] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be stored.")] = False


@command
def calibrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model folder, or a known name.")],
    options: CalibrateOptions,
    parts: PartOptions,
    common: Common,
) -> None:
    """Choose k and b of complexity-aware sampling for a mean number of steps.

    Measures the entropy of the model's prediction over prompts, finds b for the given k, and stores both in the
    model's config.json.
    """
    from grn.data.transforms import pick
    from grn.errors import UsageError
    from grn.evaluation.generation import captions, spread
    from grn.evaluation.report import histogram
    from grn.hub.resolve import resolve
    from grn.models.folder import update_config
    from grn.refine.schedule import adaptive_steps
    from grn.refine.schedule import calibrate as find_b

    found = resolve(name, offline=common.offline, kind="generator")
    pipeline = parts.load(str(found.folder), common)
    settings = pipeline.settings(adaptive=True, tmin=options.tmin, tmax=options.tmax)
    bounds = (settings.tmin, settings.tmax)
    if not bounds[0] <= options.mean <= bounds[1]:
        raise UsageError(f"--mean {options.mean:g}: lies outside tmin {bounds[0]} to tmax {bounds[1]}; widen them")
    labels = getattr(pipeline.generator.config, "num_classes", None)
    prompts: Any = (
        captions(pick(options.open(options.captions), options.num, options.seed))
        if labels is None
        else spread(labels, options.num)
    )
    measured = settings.warmup + 1  # steps after which the entropy is known
    results = pipeline(prompts, seed=options.seed, adaptive=True, tmin=measured, tmax=measured)
    entropies = [float(r.entropy or 0.0) for r in common.console.progress(results, "entropy", len(prompts))]
    b = round(find_b(entropies, options.k, bounds, options.mean), 3)
    steps = [adaptive_steps(entropy, options.k, b, bounds) for entropy in entropies]
    chosen = {"tmin": bounds[0], "tmax": bounds[1], "k": options.k, "b": b}
    if not options.dry_run:
        update_config(found.folder, "sampling", chosen)
    mean = sum(steps) / len(steps)
    record = {"name": name, "folder": str(found.folder), **chosen, "mean": mean, "entropies": entropies}
    summary = f"k = {options.k:g}, b = {b:g}: mean {mean:.1f} steps, {min(steps)} to {max(steps)}, {len(steps)} prompts"
    common.console.result(record, *histogram(steps), summary)


def _parts(found: "Resolved") -> list[str]:
    """The known names that a generator's config.json has for what is not in its folder."""
    from grn.hub import registry
    from grn.models.folder import load_config

    config = load_config(found.folder)
    named = [config.get(part) for part in ("tokenizer", "text_encoder") if not (found.folder / part).is_dir()]
    return [name for name in named if name in registry.ENTRIES]


def _state(entry: "Entry") -> tuple[str, int]:
    """Where a model is, and the size of its weights: on disk if it is there, else about what will come."""
    from grn.hub import download
    from grn.hub.resolve import EMBEDDED, converted_folder

    folder = EMBEDDED / entry.embedded if entry.embedded else converted_folder(entry.name)
    if (folder / "config.json").is_file():
        return "embedded" if entry.embedded else "on disk", _weight(folder)
    if entry.repo is None or entry.file is None:
        return "missing" if entry.embedded else "not published", entry.approximate_bytes
    fetched = download.files(entry.repo, [entry.file], local=True)
    return ("fetched", fetched[0].stat().st_size) if fetched else ("to be pulled", entry.approximate_bytes)


def _weight(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _readable(size: int) -> str:
    if not size:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _description(found: "Resolved", config: dict[str, Any], size: int) -> list[str]:
    lines = [
        f"name      {config['name']}",
        f"kind      {config['kind']}",
        f"folder    {found.folder}",
        f"source    {found.source}",
        f"weights   {_readable(size)}, sha256 {config.get('weights_sha256', '-')}",
    ]
    for section in ("network", "sampling"):
        settings = config.get(section)
        if isinstance(settings, dict):
            lines += [f"{section:9} {key} = {value}" for key, value in settings.items()]
    return lines
