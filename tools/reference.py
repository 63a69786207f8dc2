"""docs/commands.md and docs/recipes.md, made from the app and from the recipes' classes: `python -m tools.reference [--check]`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from grn.training.recipe import GeneratorRecipe, TokenizerRecipe
from grn_cli.app import LazyGroup, root

WIDTH = 110
DOCS = Path("docs")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something: ("grn models list", the command), in the order of the help."""

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


def command_reference() -> str:
    """A table of the commands, then each one's help."""
    lines = ["# The command", "", "Made by `python -m tools.reference`; each text is what `--help` prints.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    texts = []
    for path, command in commands():
        lines.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {command.short_help} |")
        texts += [f"## {path}", "", "```text", help_text(path, command), "```", ""]
    return "\n".join([*lines, "", *texts])


def recipe_reference() -> str:
    """A table of keys for each section of both kinds of recipe."""
    lines = [
        "# Recipes",
        "",
        "Made by `python -m tools.reference` from the classes that check a recipe. A recipe is a TOML file; a key can be",
        "replaced on the command line, `grn train RECIPE --set section.key=value`. Keys without a default must be given.",
        "",
    ]
    both = [part for part in sections(TokenizerRecipe) if part in list(sections(GeneratorRecipe))]
    kinds: dict[str, type[BaseModel]] = {"Tokenizers": TokenizerRecipe, "Generators": GeneratorRecipe}
    for title, model in kinds.items():
        lines += [f"## {title}", "", f"`kind = {_literal(model)}`. {_summary(model)}", ""]
        lines += [line for part in sections(model) if part not in both for line in _table(*part)]
    lines += ["## Both", "", *(line for part in both for line in _table(*part))]
    return "\n".join(lines)


def _table(section: str, model: type[BaseModel]) -> list[str]:
    """The keys of one section."""
    title = [f"### `[{section}]`", "", _summary(model)] if section else ["### At the top"]
    rows = [f"| `{key}` | {_default(field)} | {field.description} |" for key, field in keys(model)]
    return [*title, "", "| key | default | what it is |", "|---|---|---|", *rows, ""]


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections of a recipe: a dotted name (with brackets where there can be many) and the class that checks it."""
    yield path, model
    for name, field in model.model_fields.items():
        for part in _models(field.annotation):
            many = "[]" if "tuple" in str(field.annotation) else ""
            yield from sections(part, f"{path}.{name}{many}".lstrip("."))


def keys(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The keys of a section that are no sections themselves."""
    return [(name, field) for name, field in model.model_fields.items() if not _models(field.annotation)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return "none" if field.default is None else f"`{json.dumps(field.default)}`"


def _literal(model: type[BaseModel]) -> str:
    return f'"{get_args(model.model_fields["kind"].annotation)[0]}"'


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def pages() -> dict[str, str]:
    """File name -> content of each page."""
    return {"commands.md": command_reference(), "recipes.md": recipe_reference()}


def main(arguments: list[str]) -> int:
    """Write the pages into the folder (default docs/), or with --check say which differ from what would be."""
    places = [argument for argument in arguments if argument != "--check"]
    folder = Path(places[0]) if places else DOCS
    stale = 0
    for name, content in pages().items():
        path = folder / name
        if "--check" not in arguments:
            path.write_text(content, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != content:
            print(f"{path}: differs from the app; run `python -m tools.reference`", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
