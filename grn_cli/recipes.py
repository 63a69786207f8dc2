"""The recipes that come with grn, by name: "emoji/generator" is emoji/generator.toml."""

import os
import sysconfig
from pathlib import Path


def folder() -> Path | None:
    """Where they are: beside the package in a checkout, in share/grn where a wheel was installed."""
    places = [Path(__file__).parents[1], Path(sysconfig.get_path("data")) / "share" / "grn"]
    # An installation of one user, or with --target, has its own share folder beside its packages.
    places += [parent / "share" / "grn" for parent in Path(__file__).parents[1:5]]
    return next(
        (place / "recipes" for place in places if (place / "recipes" / "emoji" / "generator.toml").is_file()), None
    )


def names() -> list[str]:
    """ "emoji/generator" and so on; what findings/ holds is measured, not trained."""
    found = folder()
    if found is None:
        return []
    paths = [path.relative_to(found).with_suffix("") for path in found.rglob("*.toml")]
    return sorted(path.as_posix() for path in paths if path.parts[0] != "findings")


def find(recipe: str) -> Path:
    """The file that a recipe's path or name leads to; a path that is there comes first."""
    path, found = Path(recipe).expanduser(), folder()
    if found is None or os.path.lexists(path) or recipe not in names():
        return path
    return found / f"{recipe}.toml"
