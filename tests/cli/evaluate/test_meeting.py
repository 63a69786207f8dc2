"""Processes that torchrun starts tell the one that leads that they have ended; what runs before have left says nothing."""

import os
import time
from pathlib import Path
from threading import Thread

from grn.files import locked
from grn_cli.evaluate.meeting import Meeting, held

SHORT, LONG = 0.2, 60.0


def test_the_leader_waits_for_all_others(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    leader = Meeting(folder)
    others = [Thread(target=Meeting(folder).tell, args=(str(rank), LONG)) for rank in (1, 2)]
    others[0].start()  # before there is a leader
    time.sleep(SHORT)
    assert others[0].is_alive()
    leader.lead()
    assert not leader.wait(2, SHORT)
    others[1].start()
    assert leader.wait(2, LONG)
    leader.close()
    for other in others:
        other.join(LONG)
    assert not folder.exists()


def test_nobody_counts_who_ended_in_a_run_before(tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    folder.mkdir()
    for left in ("dead.lock", "dead-1", "1"):  # by a leader that died, and by an older version
        (folder / left).touch()
    Meeting(folder).tell("1", SHORT)
    leader = Meeting(folder)
    leader.lead()
    assert not leader.wait(1, SHORT)
    Meeting(folder).tell("1", LONG)
    assert leader.wait(1, SHORT)
    leader.close()
    assert not folder.exists()


def test_folders_where_nobody_leads_are_swept(tmp_path: Path) -> None:
    leads = Meeting(tmp_path / "run-1")
    leads.lead()
    for name in ("run-2", "run-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "abc.lock").touch()
    for name in ("run-1", "run-2"):
        os.utime(tmp_path / name, (0, 0))
    another = Meeting(tmp_path / "run-4")
    another.lead()
    assert {path.name for path in tmp_path.iterdir()} == {"run-1", "run-3", "run-4"}  # the third may be about to be led
    assert leads.wait(0, SHORT)
    leads.close()
    another.close()


def test_a_lock_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    assert not held(path)
    assert not path.exists()
    with locked(path):
        assert held(path)
        assert path.exists()
