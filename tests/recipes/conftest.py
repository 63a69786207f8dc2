"""The recipes' scripts import each other by name, and so do their tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "recipes" / "emoji"))

from helpers.drawings import clips_tar, encoded, pictures_tar, sprites
from sprites import write as write_sprites


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tars of pictures, clips and sprites, which is the current one."""
    pictures_tar(tmp_path / "pictures.tar", 5)
    clips_tar(tmp_path / "clips.tar", 3)
    made, pixels = sprites()
    write_sprites(tmp_path / "sprites.tar", made, {one.key: encoded(pixels[n], "WEBP") for n, one in enumerate(made)})
    monkeypatch.chdir(tmp_path)
    return tmp_path
