"""Where a name leads: an alias, a folder, the hub's cache, the hub."""

import logging
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from grn.errors import ModelMismatchError, ModelNotFoundError, UsageError
from grn.files import cache_folder, display
from grn.hub import download, registry
from grn.models.config import GeneratorModelConfig
from grn.models.folder import ModelFolder
from grn.models.tensors import CONFIG

EMBEDDED = Path(__file__).parents[1] / "models" / "embedded"
_OFFLINE = "the network was left alone; fetch it once with the network, or give a model folder"
_log = logging.getLogger("grn")


@dataclass(frozen=True)
class Resolved:
    """A model folder and how it was found.

    source: "embedded", "folder", "converted", "hub cache" or "hub". looked_in: every place tried, in order. opened: the
    folder with its config, where that has been read on the way.
    """

    folder: Path
    source: str
    looked_in: tuple[str, ...]
    opened: ModelFolder | None = None

    def open(self) -> ModelFolder:
        """The folder with its config, read now if it was not before. Raises as `ModelFolder.open` does."""
        return self.opened or ModelFolder.open(self.folder)


def resolve(name: str, offline: bool = False, kind: str | None = None, revision: str | None = None) -> Resolved:
    """Find the model folder of an alias, folder path or hub name ("owner/model").

    kind: "tokenizer", "text-encoder" or "generator", what the caller needs; of a generator's folder the first two are
    its own ones. The folder of a text encoder may be in another format than ours. revision: commit of
    a hub name. Raises ModelNotFoundError (where it looked, what to do), ModelMismatchError (a model of the other kind),
    EnvironmentFaultError (network), or UsageError for a revision that is no commit or of what is not on the hub.
    """
    offline = offline or download.is_offline()
    # A branch or tag may be moved to something else behind the back of whoever pinned it.
    if revision is not None and not re.fullmatch("[0-9a-f]{40}", revision):
        raise UsageError(f"revision {revision!r:.60}: expected the 40 digits of a commit")
    entry = registry.ENTRIES.get(name)
    if entry is not None:
        found = _embedded(entry) if entry.embedded else _published(entry, offline)
    elif (path := _existing(name)) is not None:
        found = _folder(name, path)
    elif download.is_name(name):
        found = _hub(name, offline, revision)
    else:
        raise _unknown(name, kind)
    if revision is not None and found.source not in ("hub", "hub cache"):
        raise UsageError(f"revision {revision}: {display(name)} is no repository of the hub (found: {found.source})")
    found = _of_kind(name, found, kind)
    place = "" if str(found.folder) == name else f", {display(found.folder)}"
    _log.info("%s: %s%s", display(name), found.source, place)
    return found


def converted_folder(name: str) -> Path:
    """Where the converted weights of a published model are kept."""
    return cache_folder(f"models/{name}")


def _embedded(entry: registry.Entry) -> Resolved:
    folder = EMBEDDED / str(entry.embedded)
    if not (folder / CONFIG).is_file():
        raise ModelNotFoundError(f"{entry.name}: weights are not here (looked in {display(folder)}); install grn again")
    return Resolved(folder, "embedded", (str(folder),))


def _published(entry: registry.Entry, offline: bool) -> Resolved:
    """The converted weights; the first time they are fetched and converted."""
    folder = converted_folder(entry.name)
    if (folder / CONFIG).is_file():
        return Resolved(folder, "converted", (str(folder),))
    if entry.repo is None or entry.file is None:
        raise ModelNotFoundError(
            f"{entry.name}: weights are not here (looked in {display(folder)}) and the authors have published none; "
            f"train it with its recipe, or give the folder of your own"
        )
    looked = [str(folder), f"{download.cache_folder()} for {entry.repo}"]
    found, source = _files(entry, entry.file, local=True), "hub cache"
    if found is None and not offline:
        looked.append(f"https://huggingface.co/{entry.repo}")
        found, source = _files(entry, entry.file, local=False), "hub"
    if found is None and (found := _older(entry)) is not None:
        source = "hub cache"
        _log.warning("%s: taking %s, which the authors have replaced by %s", entry.name, found[-1].name, entry.file)
    if found is None:
        raise _absent_file(entry, looked, offline)
    from grn.hub import convert

    _log.info("%s: converting %s", entry.name, display(found[-1]))
    convert.convert(found[-1], folder, entry.name, convert.Hints(vocabulary=found[0] if entry.vocabulary else None))
    return Resolved(folder, source, tuple(looked))


def _files(entry: registry.Entry, file: str, local: bool) -> list[Path] | None:
    """What is converted, the weights last. The small file comes first: without it no gigabytes are worth fetching."""
    return download.files(str(entry.repo), [*([entry.vocabulary] if entry.vocabulary else []), file], local=local)


def _older(entry: registry.Entry) -> list[Path] | None:
    """What the cache has of the files that today's has replaced, the newest."""
    found = (_files(entry, one.file, local=True) for one in entry.files[1:])
    return next((files for files in found if files is not None), None)


def _absent_file(entry: registry.Entry, looked: list[str], offline: bool) -> ModelNotFoundError:
    """That a published file is not to be had, and what is in its place."""
    wanted = " and ".join(filter(None, (entry.file, entry.vocabulary)))
    where = ", ".join(map(display, looked))
    missing = f"{entry.name}: weights are not here (looked in {where} for {wanted})"
    if offline:
        return ModelNotFoundError(f"{missing}; {_OFFLINE}", name=entry.name, lack="network")
    family = str(entry.file).partition("_")[0]
    others = [file for file in download.listing(str(entry.repo)) if file.startswith(family)]
    return ModelNotFoundError(
        f"{missing}; {entry.repo} has {display(', '.join(others)) or 'no file like it'}", name=entry.name, lack="files"
    )


def _existing(name: str) -> Path | None:
    """The file or folder of that name, None where there is none or the system could have none."""
    try:
        path = Path(name).expanduser()
        path.lstat()
    except (OSError, ValueError, RuntimeError):  # not there; with a NUL; of an unknown user
        return None
    return path if name else None


def _folder(name: str, folder: Path) -> Resolved:
    if (folder / CONFIG).is_file():
        return Resolved(folder, "folder", (str(folder),))
    if folder.is_file():
        raise ModelNotFoundError(f"{display(name)}: is a file; give a model folder", name=name, lack="folder")
    hint = (
        f"; did you mean {display(folder / 'final')!r}?"
        if (folder / "final" / CONFIG).is_file()
        else "; give a model folder"
    )
    raise ModelNotFoundError(f"{display(name)}: the folder holds no {CONFIG}{hint}")


def _hub(name: str, offline: bool, revision: str | None) -> Resolved:
    looked = [f"folder {name}", f"{download.cache_folder()} for {name}"]
    folder, source = download.snapshot(name, True, revision), "hub cache"
    if folder is None and not offline:
        looked.append(f"https://huggingface.co/{name}")
        folder, source = download.snapshot(name, False, revision), "hub"
    if folder is None:
        raise _absent(name, looked, offline)
    return Resolved(folder, source, tuple(looked))


def _absent(name: str, looked: list[str], offline: bool) -> ModelNotFoundError:
    remedy = _OFFLINE if offline else "give a model folder"
    return ModelNotFoundError(
        f"{name}: weights are not here (looked in {', '.join(map(display, looked))}); {remedy}",
        name=name,
        lack="network" if offline else "",
    )


def _unknown(name: str, kind: str | None) -> ModelNotFoundError:
    known = registry.names(kind)
    near = get_close_matches(name, known, 3, 0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(known)}"
    return ModelNotFoundError(
        f"{display(name)}: no model of that name (looked among the known names and for a folder; "
        f"hub names are OWNER/MODEL); {remedy}",
        name=name,
        lack="name",
    )


def _of_kind(name: str, found: Resolved, kind: str | None) -> Resolved:
    if kind == "text-encoder":
        inner = found.folder / "text_encoder"
        return (
            replace(found, folder=inner) if (inner / CONFIG).is_file() else found
        )  # it is read by who knows its formats
    if kind is None:
        return found
    opened = ModelFolder.open(found.folder)
    is_generator = isinstance(opened.config, GeneratorModelConfig)
    if opened.config.kind == kind or (is_generator and kind == "generator"):
        return replace(found, opened=opened)
    if is_generator:
        inner = found.folder / "tokenizer"
        if (inner / CONFIG).is_file():
            return replace(found, folder=inner)
        raise ModelMismatchError(
            f"{display(name)}: is a generator without a tokenizer in its folder; name a tokenizer "
            f"({', '.join(registry.names('tokenizer'))})"
        )
    raise ModelMismatchError(
        f"{display(name)}: is a {opened.config.kind.replace('-', ' ')}; name a {kind} "
        f"({', '.join(registry.names(kind))}, or a folder)"
    )
