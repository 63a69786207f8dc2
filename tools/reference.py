"""The README's help of every command, made from the app: `python -m tools.reference [--check] [FILE]`.

It stands between two marks in the file; nothing else of the file is touched.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN = "<!-- help: made by `python -m tools.reference` -->"
END = "<!-- end of help -->"
WIDTH = 100


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something: ("grn models list", the command), in the order of the help."""
    from grn_cli.app import LazyGroup, root

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(command, LazyGroup):
            yield path, command
            return
        for name in command.table:
            yield from walk(f"{path} {name}", command.get_command(None, name))

    return walk("grn", root())


def help_text(path: str, command: Any) -> str:
    """What `grn ... --help` prints, for one width on every terminal."""
    with command.make_context(
        path, [], resilient_parsing=True, max_content_width=WIDTH, terminal_width=WIDTH
    ) as context:
        return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def section() -> str:
    """The text between the marks: a table of the commands, then each one's help, folded."""
    lines = ["", "| command | what it does |", "|---|---|"]
    folded = []
    for path, command in commands():
        text = help_text(path, command)
        lines.append(f"| `{path}` | {command.short_help} |")
        folded += ["<details>", f"<summary><code>{path} --help</code></summary>", "", "```text", text, "```", ""]
        folded += ["</details>", ""]
    return "\n".join([*lines, "", *folded])


def renewed(text: str, path: Path) -> str:
    """`text` with the help as it is now. Raises ConfigError where the marks are missing."""
    from grn.errors import ConfigError

    parts = re.split(f"({re.escape(BEGIN)}\n|{re.escape(END)})", text)
    if len(parts) != 5:
        raise ConfigError(f"{path}: expected one {BEGIN} and one {END} after it; put them where the help belongs")
    return "".join([*parts[:2], section(), *parts[3:]])


def main(arguments: list[str]) -> int:
    """Renew the help in the file (default README.md), or with --check say whether it differs from what it would be."""
    from grn.errors import ConfigError

    places = [argument for argument in arguments if argument != "--check"]
    path = Path(places[0] if places else "README.md")
    text = path.read_text(encoding="utf-8")
    try:
        new = renewed(text, path)
    except ConfigError as error:
        print(f"readme: error: {error}", file=sys.stderr)
        return 1
    if "--check" not in arguments:
        path.write_text(new, encoding="utf-8", newline="\n")
    elif text != new:
        print(f"{path}: its help differs from the app's; run `python -m tools.reference`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
