"""`grn models list`, `show` and `pull`: which models there are, where one is, fetching one."""

from pathlib import Path
from typing import Any

from grn.hub import download, registry
from grn.hub.registry import Entry
from grn.hub.resolve import EMBEDDED, Resolved, converted_folder, resolve
from grn_cli.errors import Batch
from grn_cli.options.models import List, Pull, Show

_SAID = ("format_version", "kind", "name", "weights_sha256")  # in the first lines of a description, or of no use


def list_models(options: List) -> None:
    """A line for each known name."""
    for entry in registry.ENTRIES.values():
        state, size = _state(entry)
        record = {
            "name": entry.name,
            "kind": entry.kind,
            "state": state,
            "bytes": size or None,
            "licence": entry.licence,
            "summary": entry.summary,
            "note": entry.note or None,
        }
        line = f"{entry.name:21} {state:13} {_readable(size):>8}  {entry.kind:15} {entry.summary}"
        options.console.result(record, "; ".join(filter(None, (line, f"licence: {entry.licence}", entry.note))))


def show(options: Show) -> None:
    """What a model's config says."""
    found = resolve(options.name, offline=True)
    options.console.result(*describe(found, options.name))


def pull(options: Pull) -> None:
    """Fetch each model and what it works with."""
    batch = Batch(alone=len(options.names) == 1)
    for name in options.names:
        with batch.item():
            found = resolve(name, offline=options.offline)
            options.console.detail(f"{name}: {found.source}; looked in {', '.join(found.looked_in)}")
            for part in _parts(found):
                resolve(part, offline=options.offline)
            record = {"name": name, "folder": str(found.folder), "source": found.source}
            options.console.result(record, str(found.folder))
    batch.finish()


def describe(found: Resolved, name: str) -> tuple[Any, ...]:
    """A record of a model folder for programs, then the lines for people."""
    config, size = found.open().config.document(), _weight(found.folder)
    record = {"name": name, "folder": str(found.folder), "source": found.source, "bytes": size, "config": config}
    lines = [
        f"name      {config['name']}",
        f"kind      {config['kind']}",
        f"folder    {found.folder}",
        f"source    {found.source}",
        f"weights   {_readable(size)}, sha256 {config.get('weights_sha256', '-')}",
    ]
    rest = {key: value for key, value in config.items() if key not in _SAID and not isinstance(value, dict | list)}
    sections = {"network": config["network"], "sampling": config.get("sampling", {})}
    sections |= {"clips": config.get("clip_sampling", {}), "drawing": rest}
    for section, settings in sections.items():
        lines += [f"{section:9} {key} = {value}" for key, value in settings.items()]
    for preset, settings in config.get("presets", {}).items():
        lines.append(f"preset    {preset}: off unless named with --preset")
        lines += [f"          {key} = {value}" for key, value in settings.items()]
    known = registry.ENTRIES.get(config["name"])
    lines += [f"note      {known.note}"] if known and known.note else []
    return record, *lines


def _parts(found: Resolved) -> list[str]:
    """The known names that a generator's config.json has for what is not in its folder."""
    config = found.open().config
    parts = [part for part in ("tokenizer", "text_encoder") if not (found.folder / part).is_dir()]
    return [name for name in (getattr(config, part, None) for part in parts) if name in registry.ENTRIES]


def _state(entry: Entry) -> tuple[str, int]:
    """Where a model is, and the size of its weights: on disk if it is there, else about what will come."""
    folder = EMBEDDED / entry.embedded if entry.embedded else converted_folder(entry.name)
    if (folder / "config.json").is_file():
        return "embedded" if entry.embedded else "on disk", _weight(folder)
    if entry.repo is None or entry.file is None:
        return "missing" if entry.embedded else "not published", entry.approximate_bytes
    fetched = next(filter(None, (download.files(entry.repo, [one.file], local=True) for one in entry.files)), None)
    return ("fetched", fetched[0].stat().st_size) if fetched else ("to be pulled", entry.approximate_bytes)


def _weight(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _readable(size: int) -> str:
    if not size:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
