"""`grn tokenize` and `grn reconstruct` of every kind of clip: how many frames, how large, how fast, or why not."""

import json
import os
import pty
import select
from pathlib import Path
from typing import Any

import pytest
from helpers.clips import COUNT, FPS, HEIGHT, WIDTH, frame, run_ffmpeg, write, write_all
from helpers.forked import Forked
from PIL import Image

from grn.media import open_media


@pytest.fixture
def tok(grn: Any, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command with the tiny tokenizer, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda command, *arguments: grn(command, *arguments, "--tokenizer", tokenizer)


def _rotated(clip: Path, path: Path) -> None:
    run_ffmpeg("-display_rotation", 90, "-i", clip, "-c", "copy", path)


def _variable(clip: Path, path: Path) -> None:
    """Frames 0, 1, 4, 5, ... of the clip at their own times."""
    chosen = "select=lt(mod(n\\,4)\\,2)"
    run_ffmpeg("-i", clip, "-vf", chosen, "-fps_mode", "vfr", "-c:v", "libx264", "-crf", 10, path)


def _with_sound(clip: Path, path: Path) -> None:
    sine = ("-f", "lavfi", "-i", "sine=duration=1")
    run_ffmpeg("-i", clip, *sine, "-map", "0:v", "-map", "1:a", "-c:v", "copy", path)


def _odd(clip: Path, path: Path) -> None:
    write(path, 6, 37, 21, 10)


def _one_frame(clip: Path, path: Path) -> None:
    write(path, 1)


def _plain(clip: Path, path: Path) -> None:
    path.write_bytes(clip.read_bytes())


def _animation(clip: Path, path: Path) -> None:
    pictures = [Image.fromarray(frame(index)) for index in range(4)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 300, 100, 500], lossless=True)


UPRIGHT = (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("name", "make", "options", "size", "frames", "fps"),
    [
        ("a.mp4", _plain, "", UPRIGHT, COUNT, FPS),
        ("a.mp4", _plain, "--start 1 --duration 0.4", UPRIGHT, 10, FPS),
        ("a.mp4", _plain, "--fps 5", UPRIGHT, 10, 5),
        ("a.mp4", _plain, "--size 32x16 --duration 0.2", (32, 16), 5, FPS),
        ("a.mp4", _rotated, "--duration 0.2", (HEIGHT, WIDTH), 5, FPS),
        ("a.mp4", _variable, "", UPRIGHT, 26, 12.5),
        ("a.mp4", _variable, "--fps 25", UPRIGHT, COUNT, 25),
        ("a.mp4", _with_sound, "--duration 0.2", UPRIGHT, 5, FPS),
        ("a.mp4", _odd, "", (37, 21), 6, 10),
        ("a.mp4", _one_frame, "", UPRIGHT, 1, FPS),
        ("a.gif", _odd, "", (37, 21), 6, 10),
        ("a.webp", _animation, "", UPRIGHT, 4, 4),
        ("a.webp", _animation, "--fps 10", UPRIGHT, 10, 10),
    ],
)
def test_there_and_back(
    tok: Any, clip: Path, tmp_path: Path, name: str, make: Any, options: str, size: Any, frames: int, fps: float
) -> None:
    make(clip, tmp_path / name)
    record = json.loads(tok("tokenize", name, *options.split(), "--json").text)
    assert (record["kind"], record["frames"], (record["width"], record["height"])) == ("video", frames, size)
    assert record["fps"] == pytest.approx(fps, rel=0.05)
    tokens = 1 + -(-(frames - 1) // 4)
    bits = tokens * -(-size[1] // 16) * -(-size[0] // 16) * 4 * 4
    assert record["bits_per_pixel"] == pytest.approx(bits / (frames * size[0] * size[1]))
    assert tok("reconstruct", "a.npz", "-o", "back.mp4").code == 0
    with open_media(tmp_path / "back.mp4") as media:
        assert (media.width, media.height) == size
        assert media.fps == pytest.approx(fps, rel=0.05)
        assert len(list(media)) == frames


def _sound(clip: Path, path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)


def _no_frames(clip: Path, path: Path) -> None:
    run_ffmpeg("-i", clip, "-c", "copy", "-frames:v", 0, path)


@pytest.mark.parametrize(
    ("name", "make", "options", "err"),
    [
        ("a.mp4", _sound, "", "a.mp4: holds no video, only other streams"),
        ("a.mov", _no_frames, "", "a.mov: "),
        ("a.mp4", _plain, "--start 9", "a.mp4: has no frame from 9 s to its end"),
    ],
)
def test_nothing_to_tokenize(
    tok: Any, clip: Path, tmp_path: Path, name: str, make: Any, options: str, err: str
) -> None:
    make(clip, tmp_path / name)
    outcome = tok("tokenize", name, *options.split())
    assert outcome.code == 3
    assert outcome.err.startswith(f"grn: error: {err}")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "a.npz").exists()


def test_frames_are_counted_on_a_terminal(tokenizer: Path, tmp_path: Path) -> None:
    """A bar with frames, rate and time left while it runs; bits per pixel at the end."""
    write_all(tmp_path / "a.mp4", (frame(index, 32, 32) for index in range(12)), 32, 32, 12)
    ours, theirs = pty.openpty()
    terminal = {"err": os.ttyname(theirs), "COLUMNS": "100", "TERM": "xterm"}
    started = Forked("tokenize", "a.mp4", "--tokenizer", tokenizer, folder=tmp_path, **terminal)
    while started.process.is_alive() and not select.select([ours], [], [], 0.1)[0]:
        pass  # the process has the terminal open before this one closes its end
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert started.wait().code == 0
    text = shown.decode()
    assert "frames" in text
    assert "12/12" in text
    assert "/s" in text
    assert "0:00:00" in text
    assert "12 frames, 4 rounds, 0.021 bits per pixel" in text
