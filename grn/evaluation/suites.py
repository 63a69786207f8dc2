"""GenEval and VBench (tables 4 and 5): the folders that these suites measure, and what their result files say.

The suites themselves, with their detectors, are the user's: here their prompts are read, their folders are laid out, and
their results come back.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grn.errors import BadInputError
from grn.evaluation.files import Wanted
from grn.files import atomic_path, display

GENEVAL_EACH, VBENCH_EACH, VBENCH_FLICKER = 4, 5, 25
_MAX_BYTES = 256 << 20
_LONGEST_NAME = 255  # bytes that file systems allow

# VBench's dimensions: least and greatest score, by which one is brought to 0..1, and its weight in the mean of its group.
_QUALITY = {
    "subject_consistency": (0.1462, 1.0, 1.0),
    "background_consistency": (0.2615, 1.0, 1.0),
    "temporal_flickering": (0.6293, 1.0, 1.0),
    "motion_smoothness": (0.706, 0.9975, 1.0),
    "aesthetic_quality": (0.0, 1.0, 1.0),
    "imaging_quality": (0.0, 1.0, 1.0),
    "dynamic_degree": (0.0, 1.0, 0.5),
}
_SEMANTIC = {
    "object_class": (0.0, 1.0, 1.0),
    "multiple_objects": (0.0, 1.0, 1.0),
    "human_action": (0.0, 1.0, 1.0),
    "color": (0.0, 1.0, 1.0),
    "spatial_relationship": (0.0, 1.0, 1.0),
    "scene": (0.0, 0.8222, 1.0),
    "appearance_style": (0.0009, 0.2855, 1.0),
    "temporal_style": (0.0, 0.364, 1.0),
    "overall_consistency": (0.0, 0.364, 1.0),
}
_QUALITY_WEIGHT = 4  # of the quality score in the total, the semantic one's being 1


@dataclass(frozen=True)
class Asked:
    """A prompt of a suite. line: what the suite's file says of it. each: pictures or clips of it."""

    prompt: str
    line: Mapping[str, Any]
    each: int


def read_geneval(path: Path, each: int = GENEVAL_EACH) -> list[Asked]:
    """GenEval's evaluation_metadata.jsonl: an object a line. Raises BadInputError."""
    found = [line for line in _lines(path) if isinstance(line, dict)]
    if not found or not all(isinstance(line.get("prompt"), str) and line["prompt"] for line in found):
        raise BadInputError(f"{display(path)}: no prompts of GenEval (expected an object with a prompt on every line)")
    return [Asked(line["prompt"], line, each) for line in found]


def geneval_files(folder: Path, asked: Sequence[Asked], prompts: Mapping[str, str], seed: int) -> list[Wanted]:
    """NUMBER/samples/NUMBER.png of each; NUMBER/metadata.jsonl is written at once. prompts: by what some are rewritten."""
    wanted: list[Wanted] = []
    for number, one in enumerate(asked):
        place = folder / f"{number:05d}"
        place.mkdir(parents=True, exist_ok=True)
        _write_once(place / "metadata.jsonl", json.dumps(one.line))
        for sample in range(one.each):
            drawn = prompts.get(one.prompt, one.prompt)
            wanted.append(Wanted(place / "samples" / f"{sample:05d}.png", drawn, seed + len(wanted)))
    return wanted


def read_vbench(path: Path, each: int = VBENCH_EACH, dimensions: Sequence[str] = ()) -> list[Asked]:
    """VBench_full_info.json, or a text file with a prompt a line. dimensions: only their prompts, all if empty.

    A prompt of temporal flickering has 25 clips where the suite's own 5 are asked for. Raises BadInputError.
    """
    if path.suffix == ".json":
        found = _json(path)
        if not isinstance(found, list) or not all(map(_is_of_vbench, found)):
            raise BadInputError(f"{display(path)}: no prompts of VBench (expected a list of objects with prompt_en)")
    else:
        texts = [text.strip() for text in _text(path).split("\n")]
        found = [{"prompt_en": text, "dimension": [path.stem]} for text in texts if text]
    unknown = set(dimensions) - {name for one in found for name in one.get("dimension", [])}
    if unknown:
        raise BadInputError(f"{display(path)}: no prompt of dimension {display(', '.join(sorted(unknown)))}")
    asked: dict[str, Asked] = {}
    for one in found:
        if not dimensions or set(dimensions) & set(one.get("dimension", [])):
            flickers = each == VBENCH_EACH and "temporal_flickering" in one.get("dimension", [])
            count = VBENCH_FLICKER if flickers else each
            prompt = one["prompt_en"]
            if prompt not in asked or asked[prompt].each < count:  # one clip serves all dimensions of its prompt
                asked[prompt] = Asked(prompt, one, count)
    if not asked:
        raise BadInputError(f"{display(path)}: holds no prompt")
    return list(asked.values())


def _is_of_vbench(one: Any) -> bool:
    """Whether this is a prompt as the suite lists it."""
    if not isinstance(one, dict) or not isinstance(one.get("prompt_en"), str):
        return False
    dimensions = one.get("dimension", [])
    return isinstance(dimensions, list) and all(isinstance(name, str) for name in dimensions)


def _fits(name: str) -> bool:
    """Whether a file may have so long a name, of text that can be encoded."""
    try:
        return len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:  # halves of a pair, which JSON may hold
        return False


def vbench_files(folder: Path, asked: Sequence[Asked], prompts: Mapping[str, str], seed: int) -> list[Wanted]:
    """PROMPT-INDEX.mp4 of each, by the suite's own prompt also where it is drawn from another wording.

    Raises BadInputError for a prompt that can be no file's name.
    """
    wanted: list[Wanted] = []
    for one in asked:
        name = f"{one.prompt}-{one.each - 1}.mp4"
        if "/" in name or "\0" in name or not _fits(name) or name.startswith("."):
            raise BadInputError(
                f"{display(one.prompt)}: cannot be a file's name, which VBench finds clips by; leave it out"
            )
        drawn = prompts.get(one.prompt, one.prompt)
        for index in range(one.each):
            wanted.append(Wanted(folder / f"{one.prompt}-{index}.mp4", drawn, seed + len(wanted)))
    return wanted


def read_pairs(path: Path) -> dict[str, str]:
    """Prompts and what they are rewritten to: a JSON object, or lines "prompt TAB wording", or JSON lines of two strings.

    Raises BadInputError.
    """
    if path.suffix == ".json":
        found = _json(path)
    elif path.suffix == ".jsonl":
        lines = _lines(path)
        pairs = [list(line.values()) if isinstance(line, dict) else line for line in lines]
        found = dict(pairs) if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs) else None
    else:
        rows = [line.rstrip("\r").split("\t") for line in _text(path).split("\n") if line.strip()]
        found = dict(rows) if all(len(row) == 2 for row in rows) else None
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(text, str) and text for pair in found.items() for text in pair)
    ):
        raise BadInputError(
            f"{display(path)}: no pairs of prompts (expected lines PROMPT TAB WORDING, or a JSON object of them)"
        )
    return found


def geneval_scores(path: Path) -> dict[str, float]:
    """Of the suite's results.jsonl: the share of correct pictures of each task, their mean over tasks ("overall"), and
    the share of prompts with a correct picture. Raises BadInputError.
    """
    tasks: dict[str, list[bool]] = defaultdict(list)
    prompts: dict[str, bool] = {}
    for line in _lines(path):
        if (
            not isinstance(line, dict)
            or not isinstance(line.get("tag"), str)
            or not isinstance(line.get("correct"), bool)
        ):
            raise BadInputError(f"{display(path)}: no results of GenEval (expected tag and correct on every line)")
        tasks[line["tag"]].append(line["correct"])
        key = str(line.get("metadata", line.get("prompt", "")))
        prompts[key] = prompts.get(key, False) or line["correct"]
    if not tasks:
        raise BadInputError(f"{display(path)}: holds no result")
    shares = {tag: sum(correct) / len(correct) for tag, correct in tasks.items()}
    pictures = sum(map(len, tasks.values()))
    return {
        **shares,
        "overall": sum(shares.values()) / len(shares),
        "correct_prompts": sum(prompts.values()) / len(prompts),
        "correct_pictures": sum(map(sum, tasks.values())) / pictures,
        "pictures": pictures,
    }


def vbench_scores(paths: Sequence[Path]) -> dict[str, float]:
    """Of the suite's *_eval_results.json, one or several: every dimension's score as it is, and where all of them are there
    "quality", "semantic" and "total" as the suite's own table has them. Raises BadInputError.
    """
    found: dict[str, float] = {}
    for path in paths:
        results = _json(path)
        if not isinstance(results, dict) or not results:
            raise BadInputError(f"{display(path)}: no results of VBench (expected an object of dimensions)")
        for name, value in results.items():
            score = value[0] if isinstance(value, list) and value else None
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise BadInputError(
                    f"{display(path)}: {display(name)}: no score (expected a list that begins with one)"
                )
            found[name.replace(" ", "_")] = float(score)
    groups = {"quality": _QUALITY, "semantic": _SEMANTIC}
    for group, table in groups.items():
        if table.keys() <= found.keys():
            weighted = sum(weight * (found[name] - low) / (high - low) for name, (low, high, weight) in table.items())
            found[group] = weighted / sum(weight for *_, weight in table.values())
    if groups.keys() <= found.keys():
        found["total"] = (_QUALITY_WEIGHT * found["quality"] + found["semantic"]) / (_QUALITY_WEIGHT + 1)
    return found


def _write_once(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"longer than {_MAX_BYTES} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInputError(f"{display(path)}: cannot be read as text ({reason})") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{display(path)}: not JSON ({display(str(error))})") from error


def _lines(path: Path) -> list[Any]:
    def read() -> Iterator[Any]:
        for number, line in enumerate(_text(path).split("\n"), 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadInputError(f"{display(path)}: line {number}: not JSON ({display(str(error))})") from error

    return list(read())
