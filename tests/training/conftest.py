"""A folder of data and models for tiny runs, in which each test stands."""

from pathlib import Path

import pytest
from helpers.training import VIDEO_NETWORK, caption, make_clips, make_pictures, make_tokenizer, make_words


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with eight pictures of two classes, a tokenizer for them and a text encoder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "pictures")
    make_tokenizer(tmp_path / "tokenizer")
    make_words(tmp_path / "words")
    return tmp_path


@pytest.fixture
def captioned(place: Path) -> Path:
    """The same, each picture captioned with its class."""
    caption(place / "pictures")
    return place


@pytest.fixture
def clips_place(captioned: Path) -> Path:
    """The same, and four clips with captions, and a joint tokenizer in the folder "joint"."""
    make_clips(captioned / "clips")
    make_tokenizer(captioned / "joint", VIDEO_NETWORK)
    return captioned
