"""The hub and its cache on this machine: what is there, fetched only where the network is allowed."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from grn.errors import EnvironmentFaultError
from grn.models.tensors import CARD, CONFIG, INDEX, VOCABULARY, WEIGHTS

_SECONDS = 1.5  # for the hub to answer; the client's own variable is for slower networks
T = TypeVar("T")
_FILES = [
    f"{folder}{file}"
    for folder in ("", "tokenizer/", "text_encoder/")
    for file in (
        CONFIG,
        INDEX,
        "*.safetensors",
        "*.txt",
        "*.model",
        "vocab.json",
        "tokenizer_config.json",
        VOCABULARY,
        CARD,
    )
]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def is_name(name: str) -> bool:
    """Whether the hub could have a model of that name: "owner/model"."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1 and name.isascii()


def cache_folder() -> str:
    """Where the hub's client keeps what it has fetched."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def snapshot(name: str, local: bool, revision: str | None = None) -> Path | None:
    """The model folder of a repository at a commit, None where there is none; only the cache is asked if `local`."""
    from huggingface_hub import snapshot_download

    if not local and not listing(name, revision):
        return None
    found = _fetch(
        name, lambda: snapshot_download(name, revision=revision, allow_patterns=_FILES, local_files_only=local)
    )
    # A download that was cut short leaves a snapshot without all of its files.
    return found if found is not None and _is_whole(found) else None


def files(repo: str, names: list[str], local: bool) -> list[Path] | None:
    """Files of a repository, None where one is not there; only the cache is asked if `local`."""
    from huggingface_hub import hf_hub_download

    if not local and not set(names) <= set(listing(repo)):
        return None
    found = []
    for name in names:
        path = _fetch(repo, lambda name=name: hf_hub_download(repo, name, local_files_only=local))  # type: ignore[misc]
        if path is None:
            return None
        found.append(path)
    return found


def listing(repo: str, revision: str | None = None) -> list[str]:
    """The files of a repository on the hub, none where there is no such repository or commit.

    One request that is not repeated: where there is no network, that is known within _SECONDS, or HF_HUB_ETAG_TIMEOUT.
    Raises EnvironmentFaultError then.
    """
    from huggingface_hub import HfApi

    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or _SECONDS)
    found: list[str] = []

    def ask() -> str:
        siblings = _within(seconds, lambda: HfApi().model_info(repo, revision=revision, timeout=seconds).siblings)
        found.extend(file.rfilename for file in siblings or ())
        return repo

    _fetch(repo, ask)
    return found


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` gives, or raises. TimeoutError where that takes longer: a name server's silence is in nobody's time-out,
    and a time-out to connect is anew for each of a host's addresses.
    """
    answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()  # nobody waits for it at the end either
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return cast(T, answer)


def _is_whole(folder: Path) -> bool:
    needed = {CONFIG, WEIGHTS}
    if (folder / INDEX).is_file():
        try:
            needed = {CONFIG, *map(str, json.loads((folder / INDEX).read_bytes())["weight_map"].values())}
        except (ValueError, KeyError, TypeError, AttributeError):
            return True  # whole and wrong: for the reader to say
    return all((folder / name).is_file() for name in needed)


def _fetch(name: str, download: Callable[[], str]) -> Path | None:
    """What a download gives, None where there is no such thing; EnvironmentFaultError where network or disk fail."""
    from huggingface_hub import errors

    # The client writes a line for every attempt; what came of them is raised.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return Path(download())
    except errors.LocalEntryNotFoundError as error:
        # Also raised for a failed connection, with the connection's error as its cause.
        if error.__cause__ is None:
            return None
        raise _network_fault(name, error.__cause__) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError):
        return None
    except Exception as error:  # whatever its HTTP library raises, which is another one in other versions
        raise _network_fault(name, error) from error
    finally:
        logger.setLevel(level)


def _network_fault(name: str, error: BaseException) -> EnvironmentFaultError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return EnvironmentFaultError(
        f"{name}: could not be fetched from the hub ({reason}); check the network and try again"
    )
