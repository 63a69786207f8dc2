"""`grn models`: which models there are, where one is, fetching one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.options import Common, command

if TYPE_CHECKING:
    from grn.models.registry import Entry
    from grn.models.store import Resolved

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known name, a model folder, or OWNER/MODEL on the hub.")]


@command
def list_models(common: Common) -> None:
    """List the models known by name."""
    from grn.models import registry

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
    from grn.models import store

    found = store.resolve(name, offline=True)
    config = store.load_config(found.folder)
    size = _weight(found.folder)
    record = {"name": name, "folder": str(found.folder), "source": found.source, "bytes": size, "config": config}
    common.console.result(record, *_description(found, config, size))


@command
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Known names, or OWNER/MODEL.")], common: Common
) -> None:
    """Fetch a model from the hub, once.

    Prints the folder that it is in; a model that is here already is left as it is.
    """
    from grn.models import store
    from grn_cli.errors import Batch

    batch = Batch(alone=len(names) == 1)
    for name in names:
        with batch.item():
            found = store.resolve(name, offline=common.offline)
            common.console.detail(f"{name}: {found.source}; looked in {', '.join(found.looked_in)}")
            record = {"name": name, "folder": str(found.folder), "source": found.source}
            common.console.result(record, str(found.folder))
    batch.finish()


def _state(entry: "Entry") -> tuple[str, int]:
    """Where a model is, and the size of its weights: on disk if it is there, else about what will come."""
    from grn.models import store

    folder = store.EMBEDDED / entry.embedded if entry.embedded else store.converted_folder(entry.name)
    if (folder / "config.json").is_file():
        return "embedded" if entry.embedded else "on disk", _weight(folder)
    absent = "missing" if entry.embedded else "to be pulled" if entry.repo else "not published"
    return absent, entry.approximate_bytes


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
