"""Checkpoints survive damage, full disks and going back; nothing that was altered is believed."""

import errno
import json
import random
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from grn.errors import ConfigError, EnvironmentFaultError, ModelMismatchError
from grn.training import checkpoint as module
from grn.training.checkpoint import Checkpoint, Checkpoints, load_checkpoint, verify_checkpoint


def made(step: int, value: float = 0.0) -> Checkpoint:
    weights = {"model.weight": torch.full((3, 5), value)}
    return Checkpoint(step, {"run": {"steps": 9}}, weights, {"weight": torch.zeros(3, 5)}, {"model": []})


def steps(run: Path) -> list[str]:
    return sorted(path.name for path in run.glob("step-*"))


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).save(made(3, 2.0))
    assert path == tmp_path / "step-00000003"
    assert verify_checkpoint(path) is None
    found = load_checkpoint(path)
    assert (found.step, found.recipe) == (3, {"run": {"steps": 9}})
    assert torch.equal(found.weights["model.weight"], torch.full((3, 5), 2.0))


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        checkpoints.save(made(step))
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]
    assert checkpoints.newest() == (tmp_path / "step-00000004", [])


def test_going_back_keeps_the_new_checkpoint_and_resumes_from_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (4, 6):
        checkpoints.save(made(step))
    back = Checkpoints(tmp_path, keep=2)
    back.save(made(3))
    assert steps(tmp_path) == ["step-00000003", "step-00000006"]
    assert back.newest()[0] == tmp_path / "step-00000003"
    back.save(made(6, 1.0))
    assert steps(tmp_path) == ["step-00000003", "step-00000006"]
    newest = Checkpoints(tmp_path).newest()[0]
    assert newest == tmp_path / "step-00000006"
    assert load_checkpoint(newest).weights["model.weight"][0, 0] == 1


def test_only_good_ones_are_counted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(made(step))
    spoil(tmp_path / "step-00000002" / "weights.safetensors")
    checkpoints.save(made(3))
    assert steps(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    checkpoints.save(made(4))
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]


def test_a_good_one_is_there_at_every_moment_of_saving_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(made(1))
    rename, seen = Path.rename, 0

    def watched(self: Path, target: Path) -> Path:
        nonlocal seen
        for moment in (lambda: None, lambda: rename(self, target)):
            moment()
            assert Checkpoints(tmp_path).newest()[0] is not None
            seen += 1
        return target

    monkeypatch.setattr(Path, "rename", watched)
    checkpoints.save(made(1, 5.0))
    assert seen >= 4
    assert steps(tmp_path) == ["step-00000001"]
    assert load_checkpoint(tmp_path / "step-00000001").weights["model.weight"][0, 0] == 5


def test_a_damaged_newest_checkpoint_is_passed_over_and_only_damaged_ones_are_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (3, 6):
        checkpoints.save(made(step))
    spoil(tmp_path / "step-00000006" / "weights.safetensors")
    path, problems = checkpoints.newest()
    assert path == tmp_path / "step-00000003"
    assert problems == [f"{tmp_path}/step-00000006/weights.safetensors: differs from the manifest"]
    (tmp_path / "step-00000003" / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match="no checkpoint can be resumed"):
        checkpoints.newest()
    assert Checkpoints(tmp_path / "nothing").newest() == (None, [])


ENTRY = {"bytes": 1, "sha256": "0" * 64}
MANIFESTS = [
    ('{"step": 1, "files": {}}', "names no optimizer.pt"),
    ('{"step": 2, "files": {}}', "is of step 2"),
    ('{"step": 1.0, "files": {}}', "step: Input should be a valid integer"),
    ('{"step": -1, "files": {}}', "step: "),
    ('{"step": "1", "files": {}}', "step: "),
    ('{"step": true, "files": {}}', "step: "),
    ('{"step": ' + "9" * 5000 + ', "files": {}}', "manifest.json: "),
    ('{"step": 1, "files": []}', "files: "),
    ("[" * 100_000 + "]" * 100_000, "nested too deep"),
    ('{"step": 1, "files": ' + '{"a":' * 100_000 + "1" + "}" * 100_001, "nested too deep"),
    ("", "manifest.json: "),
    ("null", "manifest.json: "),
    ('{"content": {}}', "manifest.json: step: "),
    (json.dumps({"step": 1, "files": {"weights.safetensors": ENTRY}}), "names no optimizer.pt"),
    (
        json.dumps({"step": 1, "files": dict.fromkeys(("weights.safetensors", "optimizer.pt", "../x"), ENTRY)}),
        "names '../x', which no checkpoint holds",
    ),
]


@pytest.mark.parametrize(("text", "message"), MANIFESTS, ids=range(len(MANIFESTS)))
def test_odd_manifests_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = Checkpoints(tmp_path).save(made(1))
    (path / "manifest.json").write_text(text)
    problem = verify_checkpoint(path)
    assert problem is not None
    assert message in problem
    assert "\n" not in problem
    assert len(problem) < 500


def test_a_manifest_of_the_older_form_is_read(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).save(made(1))
    content = json.loads((path / "manifest.json").read_text())["content"]
    (path / "manifest.json").write_text(json.dumps({"step": 1, "files": content["files"]}, indent=1))
    assert verify_checkpoint(path) is None
    assert load_checkpoint(path).recipe is None


def test_no_bit_can_be_flipped_unseen(tmp_path: Path) -> None:
    """A sample of all places, more of the manifest's."""
    path = Checkpoints(tmp_path).save(made(1))
    chosen = random.Random(0)
    for file in sorted(path.iterdir()):
        good = file.read_bytes()
        for place in chosen.sample(range(8 * len(good)), 300 if file.name == "manifest.json" else 50):
            bad = bytearray(good)
            bad[place // 8] ^= 1 << place % 8
            file.write_bytes(bad)
            problem = verify_checkpoint(path)
            assert problem is not None, f"bit {place} of {file.name}"
            assert "\n" not in problem
        file.write_bytes(good)
    assert verify_checkpoint(path) is None


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error", [FULL, SafetensorError("Error while serializing: I/O error: No space left on device")]
)
def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Checkpoints(tmp_path).save(made(3))

    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(EnvironmentFaultError, match="No space left on device"):
        Checkpoints(tmp_path).save(made(6))
    assert verify_checkpoint(tmp_path / "step-00000003") is None
    assert steps(tmp_path) == ["step-00000003"]


class Alone:
    """One process that writes by itself."""

    first, processes = True, 1

    def wait(self) -> None:
        pass

    def largest(self, values: Sequence[int]) -> list[int]:
        return list(values)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_disk_full_at_any_byte_leaves_the_earlier_checkpoint(tmp_path: Path, sharded: bool) -> None:
    state = {"weights": {"model": {"weight": torch.ones(40, 30)}}, "optimizers": {}}

    def save(step: int) -> Path:
        checkpoints = Checkpoints(tmp_path)
        if sharded:
            return checkpoints.save_shards(step, {}, state, Alone())
        return checkpoints.save(replace(made(step), weights={"model.weight": torch.ones(40, 30)}))

    first = save(3)
    largest = max(path.stat().st_size for path in first.rglob("*"))
    for limit in [0, 1, *range(64, largest, 600), largest - 1]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(
                EnvironmentFaultError, match=r"step-00000006: checkpoint could not be written .*File too large"
            ):
                save(6)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert steps(tmp_path) == ["step-00000003"]
        assert verify_checkpoint(first) is None
    assert verify_checkpoint(save(6)) is None


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "step-00000002.tmp-1234").mkdir()
    Checkpoints(tmp_path).save(made(1))
    assert steps(tmp_path) == ["step-00000001"]


def test_one_that_is_being_deleted_is_no_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it deletes leaves a part of a checkpoint, but not under a checkpoint's name."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(made(1))
    checkpoints.save(made(2))
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda path, **_: (path / "manifest.json").unlink(missing_ok=True))
        checkpoints.save(made(3))
    assert len(steps(tmp_path)) == 3
    assert Checkpoints(tmp_path).newest() == (tmp_path / "step-00000003", [])
    Checkpoints(tmp_path).save(made(4))
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]


def test_optimizers_of_a_stranger_are_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    path = Checkpoints(tmp_path).save(made(1))
    torch.save({"model": [Payload()]}, path / "optimizer.pt")
    with pytest.raises(ModelMismatchError) as caught:
        load_checkpoint(path)
    assert "optimizer.pt: holds other things than numbers" in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
