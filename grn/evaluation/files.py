"""Pictures and clips as files of given names, drawn by any number of processes and continued where they were ended."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grn.errors import BadInputError
from grn.evaluation.shares import shares
from grn.media import VideoWriter, read_note, write_image
from grn.result import Result, png_texts

_AT_ONCE = 64
_LOCKS = ".grn-work"
_LATER = {"text_weights"}  # what pictures of older versions do not say


@dataclass(frozen=True)
class Wanted:
    """A file to draw: .png or .mp4, of this prompt from this seed."""

    path: Path
    prompt: str
    seed: int


Draw = Callable[[Sequence[str], Sequence[int]], Iterable[Result]]


def draw_files(
    folder: Path,
    wanted: Sequence[Wanted],
    drawing: Mapping[str, Any],
    draw: Draw,
    note: Callable[[], None] = lambda: None,
    wait: bool = True,
) -> int:
    """Draw every file that is not there, whole and made so, into `folder`; the number of those that this process drew.

    drawing: what decides a picture beside prompt and seed, as JSON (`grn.evaluation.generation.Plan`). note: is called
    for each file. wait: for what other processes draw. Raises EnvironmentFaultError where nothing can be written.
    """
    places = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
    there: set[Path] = set()
    locks = folder / _LOCKS
    told = json.loads(json.dumps(dict(drawing)))

    def missing(place: int) -> list[Wanted]:
        found = [one for one in places[place] if one.path not in there]
        there.update(one.path for one in found if _is_there(one, told))
        found = [one for one in found if one.path not in there]
        if found:
            locks.mkdir(parents=True, exist_ok=True)  # another run that was asked for less may have ended
        return found

    drawn = 0
    with closing(shares(locks, len(places), lambda place: not missing(place), wait)) as mine:
        for place in mine:
            some = missing(place)
            results = draw([one.prompt for one in some], [one.seed for one in some])
            for one, result in zip(some, results, strict=True):
                _write(one.path, result, told)
                there.add(one.path)
                drawn += 1
                note()
    if wait:  # else others may be about to take what is left
        with suppress(OSError):  # it is not there, or another run's
            locks.rmdir()
    return drawn


def _is_there(one: Wanted, drawing: Mapping[str, Any]) -> bool:
    if not one.path.is_file():
        return False
    try:
        found = json.loads(read_note(one.path))
    except (BadInputError, ValueError):
        return False
    return made_so(found, {**drawing, "prompt": one.prompt, "seed": one.seed})


def made_so(record: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a picture's record has all these facts, both as JSON."""
    if not isinstance(record, dict):
        return False
    return all(record.get(key) == value or (key in _LATER and key not in record) for key, value in wanted.items())


def _write(path: Path, result: Result, drawing: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**result.record, **drawing}
    if path.suffix == ".png":
        write_image(path, result.frames[0], png_texts(record))
        return
    with VideoWriter(
        path, result.frames.shape[2], result.frames.shape[1], result.fps or 1, json.dumps(record)
    ) as video:
        for frame in result.frames:
            video.write(frame)
