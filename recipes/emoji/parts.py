"""Files in parts that are small enough to be carried, and back: python recipes/emoji/parts.py join FOLDER

A file "model.safetensors" of 40 MB becomes "model.safetensors.part-1-of-3" and so on beside its small neighbours; joining puts it back and removes
the parts.
"""

import re
import shutil
import sys
from pathlib import Path

from grn.errors import BadInputError, GrnError, UsageError

_PART = re.compile(r"(.+)\.part-(\d+)-of-(\d+)")


def split(source: Path, out: Path, limit: int) -> list[Path]:
    """Copy a folder, its files of more than `limit` bytes in parts; returns what was written."""
    written = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size <= limit:
            shutil.copyfile(path, target)
            written.append(target)
            continue
        data = path.read_bytes()
        count = -(-len(data) // limit)
        for number in range(count):
            part = target.with_name(f"{target.name}.part-{number + 1}-of-{count}")
            part.write_bytes(data[number * limit : (number + 1) * limit])
            written.append(part)
    return written


def join(folder: Path) -> list[Path]:
    """Put the files together that lie in parts anywhere in the folder; returns them. BadInputError where a part is missing."""
    found: dict[Path, dict[int, Path]] = {}
    counts: dict[Path, int] = {}
    for path in folder.rglob("*"):
        match = _PART.fullmatch(path.name)
        if match:
            whole = path.with_name(match[1])
            found.setdefault(whole, {})[int(match[2])] = path
            counts[whole] = int(match[3])
    for whole, parts in found.items():
        missing = set(range(1, counts[whole] + 1)) - set(parts)
        if missing:
            raise BadInputError(f"{whole}: part {min(missing)} of {counts[whole]} is missing")
    for whole, parts in found.items():
        with whole.open("wb") as file:
            for number in sorted(parts):
                file.write(parts[number].read_bytes())
        for path in parts.values():
            path.unlink()
    return sorted(found)


def main(argv: list[str]) -> int:
    """Run; errors as one line on stderr."""
    try:
        if len(argv) != 2 or argv[0] != "join":
            raise UsageError("expected: parts.py join FOLDER")
        for path in join(Path(argv[1])):
            print(path)
    except GrnError as error:
        print(f"parts: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
