"""Long measurements of sets: shared by processes, continued where they were interrupted, to the same figures."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.forked import Forked

from grn.features.efficientnet import OfflineFeatures
from grn.media import VideoWriter, write_image
from grn_cli.console import Console
from grn_cli.evaluate.shared import Shared

FAST = ("--resolution", "32", "--batch-size", "2", "--json")
COMMANDS = ("stats", "recon", "video")


@pytest.fixture
def lines(here: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[object, ...]]:
    """Commands that measure six pictures, or clips, two at a time."""
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
    np.savez("photos.npz", frames)
    for name in ("photos", "clips", "others"):
        Path(name).mkdir()
    for number, frame in enumerate(frames):
        write_image(Path("photos") / f"{number}.png", frame)
        for name, step in (("clips", 1), ("others", 2)):
            with VideoWriter(Path(name) / f"{number}.webp", 32, 32, 8) as video:
                for time in range(3):
                    video.write(np.roll(frame, step * time, axis=1))
    monkeypatch.setattr("grn_cli.evaluate.shared.BLOCK", 2)
    monkeypatch.setattr("grn_cli.evaluate.clips.CLIPS", 2)
    monkeypatch.setenv("GRN_CACHE", str(here / "cache"))
    round_trip = ("--size", 32, "--tokenizer", tokenizer, "--rounds", "1,none", *FAST)
    return {
        "stats": ("eval", "stats", "photos.npz", "--size", 32, "--force", "-o", "x.npz", *FAST),
        "recon": ("eval", "recon", "--data", "photos", *round_trip),
        "recon of an npz": ("eval", "recon", "--data", "photos.npz", *round_trip),
        "video": ("eval", "video", "clips", "others", *FAST),
    }


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often pictures were looked at, and at which time that is interrupted."""
    forward, seen = OfflineFeatures.forward, [0, 0]

    def counts(self: OfflineFeatures, pixels: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == seen[1]:
            raise KeyboardInterrupt
        return forward(self, pixels)

    monkeypatch.setattr(OfflineFeatures, "forward", counts)
    return seen


def found(outcome: Any, command: str) -> tuple[Any, bytes]:
    return json.loads(outcome.text), Path("x.npz").read_bytes() if command == "stats" else b""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_was_interrupted_goes_on(grn: Any, lines: Any, seen: list[int], command: str) -> None:
    line = lines[command]
    plain = found(grn(*line), command)
    whole = seen[0]
    assert whole % 3 == 0  # of three blocks
    seen[:] = [0, 2 * whole // 3 + 1]
    assert grn(*line).code == 130
    seen[:] = [0, 0]
    assert found(grn(*line), command) == plain
    assert seen[0] == whole // 3
    seen[0] = 0
    grn(*line)
    assert seen[0] == whole  # what was gathered went with the result


@pytest.mark.parametrize("command", COMMANDS)
def test_what_ends_before_it_has_said_its_result_loses_nothing(
    grn: Any, lines: Any, seen: list[int], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = lines[command]
    with monkeypatch.context() as broken:
        broken.setattr(Console, "result", ended)
        assert grn(*line).code == 130
    assert seen[0] > 0
    seen[0] = 0
    assert grn(*line).code == 0
    assert seen[0] == 0


@pytest.mark.parametrize("command", ["fid", "adaptive"])
def test_what_is_drawn_stays_until_its_result_is_said(
    grn: Any, lines: Any, classes: Path, seen: list[int], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("eval", command, "-m", classes, "--reference", "photos", "-n", 4, "--steps", 2, *FAST)
    line += ("--tmin", 6, "--tmax", 8) if command == "adaptive" else ()
    with monkeypatch.context() as broken:
        broken.setattr(Console, "result", ended)
        assert grn(*line).code == 130
    assert seen[0] > 0
    seen[0] = 0
    assert grn(*line).code == 0
    assert seen[0] == 0


def ended(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", COMMANDS)
def test_any_process_does_the_work_and_the_first_says_what_came_of_it(
    grn: Any, lines: Any, seen: list[int], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = lines[command]
    plain = found(grn(*line), command)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("grn_cli.evaluate.shared._PATIENCE", 0.1)  # the first begins when this one has ended
    assert grn(*line) == (0, b"", "")
    monkeypatch.setenv("RANK", "0")
    seen[0] = 0
    assert found(grn(*line), command) == plain
    assert seen[0] == 0
    assert not [path for path in Path("cache/evaluations").iterdir() if path.is_dir()]


def test_two_processes_at_once(grn: Any, here: Path, lines: Any) -> None:
    plain = found(grn(*lines["recon"]), "recon")
    together = {"WORLD_SIZE": "2", "MASTER_PORT": "2", "OMP_NUM_THREADS": "1", "GRN_CACHE": os.environ["GRN_CACHE"]}
    folders = [here / str(rank) for rank in range(2)]
    for folder in folders:
        folder.mkdir()
        (folder / "photos").symlink_to(here / "photos")
    line = (*lines["recon"], "--device", "cpu")
    started = [
        Forked(*line, folder=folder, before=small_blocks, RANK=folder.name, **together) for folder in reversed(folders)
    ]
    other, first = (process.wait(240) for process in started)
    assert (other.code, other.out, other.err) == (0, "", "")
    assert (first.code, json.loads(first.out)) == (0, plain[0])


def test_the_last_of_two_runs_lets_go_of_what_both_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path))
    first, second, ended = (Shared(Console(quiet=True)) for _ in range(3))
    (folder,) = {one.folder("work") for one in (first, second, ended)}
    (folder / ".killed.run").touch()  # of a run that holds it no more
    for one in (first, second):
        one.finish()
        assert folder.is_dir()
    ended.finish()
    assert not folder.exists()


def small_blocks() -> None:
    """Two pictures a block, in a process that is forked."""
    import grn.devices
    import grn_cli.evaluate.shared

    grn_cli.evaluate.shared.BLOCK = 2
    grn.devices.multiplies_bfloat16 = lambda: False  # as in the tests' process
    torch.set_num_threads(1)


def test_where_the_cache_cannot_be_written_work_goes_on_beside_it(
    grn: Any, here: Path, lines: Any, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = found(grn(*lines["video"]), "video")
    monkeypatch.setenv("GRN_CACHE", "/dev/null/grn")
    monkeypatch.setattr("tempfile.tempdir", str(here / "aside"))
    Path("aside").mkdir()
    seen[:] = [0, 5]
    outcome = grn(*lines["video"])
    assert outcome.code == 130
    assert outcome.err.startswith(
        "grn: warning: /dev/null/grn/evaluations: cannot be written; what is measured is kept in "
    )
    (aside,) = Path("aside").glob("grn-*")
    assert aside.stat().st_mode & 0o777 == 0o700
    seen[:] = [0, 0]
    outcome = grn(*lines["video"])
    assert (found(outcome, "video"), outcome.err.count("cannot be written")) == (plain, 1)
    assert not list(aside.iterdir())
    aside.rmdir()
    aside.symlink_to(here)
    refused = grn(*lines["video"])
    assert (refused.code, "is no folder of yours; set GRN_CACHE to one" in refused.err) == (5, True)


def test_an_npz_is_measured_as_its_pictures_are(grn: Any, lines: Any) -> None:
    of_folder, of_file = (found(grn(*lines[name]), name)[0] for name in ("recon", "recon of an npz"))
    assert of_folder == of_file
    some = [json.loads(grn(*lines[name], "-n", 3).text) for name in ("recon", "recon of an npz")]
    assert some[0] == some[1] != of_file
    for option, said in ((("--keep", "a=b"), "leave out --keep"), (("--frames", "2"), "leave out --frames")):
        refused = grn(*lines["recon of an npz"], *option)
        assert (refused.code, said in refused.err) == (2, True)
    np.savez("statistics.npz", mu=np.zeros(2), sigma=np.eye(2))
    assert "holds statistics already, and no pictures" in grn("eval", "recon", "--data", "statistics.npz").err


def test_a_reference_is_measured_once(grn: Any, lines: Any, classes: Path, seen: list[int]) -> None:
    def run(*options: object) -> Any:
        seen[0] = 0
        return json.loads(grn("eval", *options, "-m", classes, "--reference", "photos", "-n", 4, *FAST).text)

    run("fid", "--steps", 1)
    whole = seen[0]
    record = run("fid", "--steps", 1)
    assert (seen[0], record["reference"]) == (whole - 3, 6)
    assert run("sweep", "--steps", 1)["best"]["frechet_inception_distance"] == pytest.approx(record["frechet"])
    assert seen[0] == whole - 3
    run("fid", "--steps", 1, "--metrics", "kid")  # of every picture, which are not kept
    assert seen[0] == whole
