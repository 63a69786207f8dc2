"""A folder of data and models for tiny runs, in which each test stands."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.training import VIDEO_NETWORK, caption, make_clips, make_pictures, make_tokenizer, make_words


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests' folders are copied from."""
    folder = tmp_path_factory.mktemp("made")
    make_pictures(folder / "pictures")
    make_tokenizer(folder / "tokenizer")
    make_words(folder / "words")
    make_clips(folder / "clips")
    make_tokenizer(folder / "joint", VIDEO_NETWORK)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with eight pictures of two classes, a tokenizer for them and a text encoder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    for name in ("pictures", "tokenizer", "words"):
        shutil.copytree(made / name, tmp_path / name)
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def captioned(place: Path) -> Path:
    """The same, each picture captioned with its class."""
    caption(place / "pictures")
    return place


@pytest.fixture
def clips_place(made: Path, captioned: Path) -> Path:
    """The same, and four clips with captions, and a joint tokenizer in the folder "joint"."""
    for name in ("clips", "joint"):
        shutil.copytree(made / name, captioned / name)
    return captioned
