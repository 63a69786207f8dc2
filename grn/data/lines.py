"""Lists of samples: .jsonl files, a JSON object a line, each naming a picture or clip and what it shows.

    file       "file_name", "image_path" or "video_path", from the list's folder on
    captions   "captions", a list; or "caption", "text" or "long_caption", each a text, or a list of {"type", "content"}.
               "long_caption_type" and "short_caption_type" are the types of "long_caption" and of "text" beside it
    class      "label", a number
    part       "begin_frame_id", "end_frame_id": of a clip, its frames from one up to, not including, the other

All further keys are facts.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from grn.data.index import Entry, Index, index_of
from grn.data.listing import LeftOut, Reason
from grn.data.samples import FilePart, wordings
from grn.errors import BadInputError
from grn.files import display
from grn.media.suffixes import suffix_of

_FILE = ("file_name", "image_path", "video_path")
_TEXTS = {
    "caption": "",
    "long_caption": "long_caption_type",
    "text": "short_caption_type",
}  # and where their types stand
_LONGEST = 1 << 20  # bytes of a line


def index_lines(path: Path, suffixes: Collection[str]) -> Index:
    """The index of a list, in its order. Raises BadInputError where the list cannot be read.

    A line that cannot be understood is a sample that cannot be read. Files are not looked for: one that is missing is
    noticed when it is read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, sorted(suffixes))
    return index_of(  # 2: what older versions made of long lines is not used
        f"lines 2 {path} {path.absolute()} {facts}", status.st_mtime, lambda left: _entries(path, suffixes, left)
    )


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{display(path)}: cannot be read ({error.strerror or error}); restore the list")


def _entries(path: Path, suffixes: Collection[str], left_out: LeftOut) -> Iterator[Entry]:
    with _opened(path) as file:
        for number, line in enumerate(_lines(path, file), 1):
            if line is not None and not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                if line is None:
                    raise ValueError(f"is longer than {_LONGEST} bytes")
                facts = json.loads(line.decode("utf-8-sig"))
                if not isinstance(facts, dict):
                    raise ValueError(f"holds a {type(facts).__name__} (expected an object)")
                entry = _entry(path.parent, place, facts)
            except (ValueError, RecursionError) as error:
                fault = f"{display(place)}: {display(str(error))}; repair or remove the line"
                yield Entry(str(number), FilePart(path), place, fault=fault)
                continue
            if suffix_of(entry.key) in suffixes:
                yield entry
            else:
                left_out.add(Reason.OTHER_KIND, entry.key)


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes | None]:
    """Every line; None in place of one that is too long, of which no more than a part is ever in memory."""
    try:
        while line := file.readline(_LONGEST + 1):
            whole = line.endswith(b"\n") or len(line) <= _LONGEST
            yield line if whole else None
            while not whole:
                rest = file.readline(_LONGEST)
                whole = not rest or rest.endswith(b"\n")
    except OSError as error:
        raise _unreadable(path, error) from error


def _entry(folder: Path, place: str, facts: Mapping[str, Any]) -> Entry:
    name = next((facts[key] for key in _FILE if facts.get(key)), None)
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"names no file (expected {', '.join(_FILE)})")
    label = facts.get("label")
    if label is not None and (not isinstance(label, int) or isinstance(label, bool) or label < 0):
        raise ValueError(f"the class is {display(str(label)[:40])!r} (expected a number, 0 or above)")
    info = {key: value for key, value in facts.items() if key not in (*_FILE, *_TEXTS, *_TEXTS.values(), "label")}
    if "captions" not in info and (captions := _captions(facts)):
        info["captions"] = captions
    wordings("", info)
    return Entry(name, FilePart(folder / name), place, "", label, info)


def _captions(facts: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key, kind in _TEXTS.items():
        value = facts.get(key)
        if isinstance(value, list):
            found += value
        elif isinstance(value, str):
            found += [{"content": value, "type": facts.get(kind) or ""} if kind else value] if value else []
        elif value is not None:
            raise ValueError(f'"{key}" is neither a text nor a list of them')
    return found
