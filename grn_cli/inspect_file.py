"""`grn inspect`: what a file or model folder says of itself."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grn.codes import PackedCodes
from grn.errors import BadInputError
from grn.files import is_file, is_folder
from grn.hub.resolve import resolve
from grn.media import READ_SUFFIXES, open_media
from grn_cli.errors import Batch
from grn_cli.models import describe
from grn_cli.options.models import Inspect
from grn_cli.record import read_record
from grn_cli.tokenize import facts

Said = tuple[Any, ...]  # a record for programs, then lines for people


def inspect(options: Inspect) -> None:
    """Print a record, or some lines, for each input."""
    batch = Batch(alone=len(options.inputs) == 1)
    for place in options.inputs:
        with batch.item():
            record, *lines = _inspect(place)
            options.console.result({"input": place, **record}, *lines)
    batch.finish()


def _inspect(place: str) -> Said:
    path = Path(place).expanduser()
    if is_folder(path) and (path / "run.toml").is_file():
        return _run(path)
    there = os.path.exists(path)  # noqa: PTH110 - pathlib's raises OSError for a name that is too long for a file
    if not there and path.suffix.lower() in (*READ_SUFFIXES, ".npz"):
        raise BadInputError(f"{place}: no such file; check the name")
    if there and not is_file(path) and not is_folder(path):
        return _media(path)  # which says why no pipe or device is read
    if not is_file(path):
        return describe(resolve(place, offline=True), place)
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return _codes(path) if is_zip else _media(path)


def _codes(path: Path) -> Said:
    codes = PackedCodes.load(path)
    record = {**facts(codes), "fingerprint": codes.fingerprint, "bytes": path.stat().st_size}
    return {"kind": "codes", "codes": record}, *_lines(path, "codes", record)


def _media(path: Path) -> Said:
    with open_media(path) as media:
        record: dict[str, Any] = {"kind": media.kind, "width": media.width, "height": media.height}
        if media.kind == "video":
            record |= {"fps": media.fps, "frames": sum(1 for _ in media)}
    made = _made(path)
    lines = _lines(path, record["kind"], record)
    for one in [
        {key: value for key, value in made.items() if key not in ("pictures", *record)},
        *made.get("pictures", []),
    ]:
        lines += _rows(one)
    return {**record, "made": made or None}, *lines


def _made(path: Path) -> dict[str, Any]:
    """What grn wrote into a picture or clip about how it was made; empty where it wrote nothing that can be read."""
    try:
        return read_record(path)
    except BadInputError:
        return {}


def _run(folder: Path) -> Said:
    """A training run: its recipe, its newest checkpoint, its last line of log."""
    steps = sorted(path.name for path in folder.glob("step-*") if (path / "manifest.json").is_file())
    log = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines() if (folder / "log.jsonl").is_file() else []
    record = {
        "checkpoint": steps[-1] if steps else None,
        "finished": (folder / "final" / "config.json").is_file(),
        "last": json.loads(log[-1]) if log else None,
    }
    recipe = (folder / "run.toml").read_text(encoding="utf-8")
    return {"kind": "run", "run": record, "recipe": recipe}, *_lines(folder, "run", record), *recipe.splitlines()


def _lines(path: Path, kind: str, record: dict[str, Any]) -> list[str]:
    return list(_rows({"file": path, "kind": kind, **record}))


def _rows(record: dict[str, Any]) -> Iterator[str]:
    """A line for each fact that is there; of those with parts, one for each part."""
    for key, value in record.items():
        parts = [f"{name} = {part}" for name, part in value.items()] if isinstance(value, dict) else [value]
        yield from (f"{key:16} {part}" for part in parts if part not in (None, ""))
