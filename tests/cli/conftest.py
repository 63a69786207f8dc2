"""What the command's tests share: a way to run it, a tiny tokenizer as a model folder, a few small files."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from grn.media import VideoWriter, write_image
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.tokenizer import save_tokenizer
from grn_cli.app import run


class Outcome(NamedTuple):
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Grn = Callable[..., Outcome]


class _Piped(io.TextIOWrapper):
    """Standard input as a pipe, holding the given bytes."""

    def __init__(self, data: bytes) -> None:
        buffer = io.BytesIO(data)
        buffer.name = "<stdin>"  # type: ignore[attr-defined]
        super().__init__(buffer)


@pytest.fixture
def grn(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Grn:
    """Run the command in this process: grn("tokenize", path, stdin=b"...")."""

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", _Piped(stdin))
        code = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Outcome(code, out, err.decode())

    return call


def _tokenizer(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_tokenizer(folder, CausalAutoencoder(TokenizerConfig.tiny()), "tiny")
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a tiny untrained tokenizer."""
    return _tokenizer(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(scope="session")
def other_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dimensions, other weights."""
    return _tokenizer(tmp_path_factory.mktemp("models") / "tiny", 1)


@pytest.fixture(scope="session")
def _files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    y, x = np.mgrid[:45, :61]
    picture = np.stack([4 * x, 5 * y, 2 * (x + y)], -1).astype(np.uint8)
    write_image(folder / "photo.png", picture)
    write_image(folder / "second.png", picture[::-1].copy())
    with VideoWriter(folder / "clip.mp4", 34, 18, 12.0) as video:
        for i in range(7):
            video.write(np.roll(picture[:18, :34], 2 * i, axis=1))
    (folder / "text.png").write_text("hello\n")
    (folder / "empty.png").touch()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def here(_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: photo.png and second.png (61x45), clip.mp4 (7 frames of 34x18), text.png, empty.png."""
    for name, data in _files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def draw(grn: Any, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Generate with the tiny text model, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: grn("generate", *arguments, "-m", words, **options)
