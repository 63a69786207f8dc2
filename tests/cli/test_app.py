"""The command as a whole: help, usage errors, exit codes, signals, pipes, and what it does not import."""

import errno
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.forked import Forked, interrupt_loading

from grn import errors
from grn.codes import PackedCodes
from grn.media import read_note, write_image
from grn_cli import app
from grn_cli.console import Console
from grn_cli.errors import Batch, Stop, exit_code, report, say
from grn_cli.signals import Terminated

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **(pipes | options))


@pytest.mark.parametrize(
    ("arguments", "code", "err"),
    [
        ("--version", 0, ""),
        ("--help", 0, ""),
        ("", 0, ""),
        ("tokenize -h", 0, ""),
        ("tokenise", 2, "grn: error: no such command 'tokenise'; did you mean 'tokenize'?; see `grn --help`\n"),
        ("eval fit", 2, "grn: error: no such command 'fit'; did you mean 'fid'?; see `grn eval --help`\n"),
        ("eval", 2, "grn: error: missing command; see `grn eval --help`\n"),
        ("tokenize", 2, "grn: error: missing argument 'INPUT'; see `grn tokenize --help`\n"),
        ("tokenize x --rounds 0", 2, "'--rounds': 0 is out of range (expected 1 to 16); see `grn tokenize --help`\n"),
        ("tokenize x --rounds 17", 2, "'--rounds': 17 is out of range (expected 1 to 16); see `grn tokenize --help`\n"),
        ("tokenize x --rounds two", 2, "grn: error: invalid value for '--rounds'"),
        ("tokenize x --roundz 2", 2, "--rounds"),
        (
            "generate x --num_inference_steps 2",
            2,
            "num_inference_steps; here it is --steps; see `grn generate --help`\n",
        ),
        ("inspect x --num_inference_steps 2", 2, "no such option: --num_inference_steps; see `grn inspect --help`\n"),
        ("tokenize -x.png", 2, "a name that begins with '-' stands behind '--': grn tokenize -- -x...; see"),
        ("tokenize x --size 0", 2, "'0' is no size; give a number of pixels, or WIDTHxHEIGHT"),
        ("tokenize x --device gpu", 2, "'gpu' is none of auto, cpu, cuda, cuda:N"),
        ("tokenize x --dtype int8", 2, "grn: error: invalid value for '--dtype'"),
        ("tokenize x --fps", 2, "grn: error: option '--fps' requires an argument"),
    ],
)
def test_usage(grn: Any, arguments: str, code: int, err: str) -> None:
    outcome = grn(*arguments.split())
    assert outcome.code == code
    if code:
        assert err in outcome.err
        assert outcome.err.startswith("grn: error: ")
        assert outcome.err.count("\n") == 1
        assert outcome.out == b""
    else:
        assert outcome.out
        assert outcome.err == ""


def leaves(table: app.Table, *path: str) -> Iterator[tuple[str, str, str]]:
    """Every command: its full name, its line of help in the table, its function."""
    for name, (line, target) in table.items():
        if isinstance(target, dict):
            yield from leaves(target, *path, name)
        else:
            yield " ".join([*path, name]), line, target


@pytest.mark.parametrize(("name", "line", "target"), list(leaves(app.COMMANDS)))
def test_help_begins_with_the_line_and_shows_examples_of_the_command(name: str, line: str, target: str) -> None:
    made = app.load(name.split()[-1], line, target)
    with made.make_context(f"grn {name}", [], resilient_parsing=True) as context:
        text = made.get_help(context)
    assert text.splitlines()[2] == f"  {line}"
    assert f"Examples:\n  grn {name}" in text
    assert "\nCommon:\n" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.BadInputError("x"), 3),
        (errors.CodesError("x"), 4),
        (errors.ConfigError("x"), 4),
        (errors.ModelMismatchError("x"), 4),
        (errors.ModelNotFoundError("x"), 4),
        (errors.EnvironmentFaultError("x"), 5),
        (errors.TrainingDivergedError("x"), 6),
        (errors.GrnError("x"), 1),
        (MemoryError(), 5),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5),
        (OSError(28, "No space left on device", "x"), 5),
        (ValueError("x"), 1),
    ],
)
def test_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(error) == report(error) == code
    err = capsys.readouterr().err
    assert err.startswith("grn: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("ending", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143), (Stop(3), 3), (SystemExit(7), 7)]
)
def test_silent_endings(ending: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ending) == code
    assert capsys.readouterr().err == ""


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRN_DEBUG", "1")
    try:
        raise errors.CodesError("half.npz: is cut short")
    except errors.CodesError as error:
        report(error)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("grn: error: half.npz: is cut short\n")


@pytest.mark.parametrize("mark", ["\x1b[31m", "\x1b]52;c;AAAA\x07", "\r", "\n", "\u202e", "\x00", "\udcff", "\x9b"])
def test_control_characters_are_escaped(mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    say("error", f"a{mark}b.png: is empty")
    err = capsys.readouterr().err
    assert mark not in err[:-1]
    assert err.isascii()
    assert err.count("\n") == 1


def test_batch_goes_on_and_then_fails(capsys: pytest.CaptureFixture[str]) -> None:
    batch = Batch(alone=False)
    done = []
    for number in range(4):
        with batch.item():
            if number % 2:
                raise errors.BadInputError(f"{number}.png: is empty")
            done.append(number)
    assert done == [0, 2]
    with pytest.raises(Stop) as stop:
        batch.finish()
    assert stop.value.code == 3
    assert capsys.readouterr().err == "grn: error: 1.png: is empty\ngrn: error: 3.png: is empty\n"


def test_batch_stops_where_nothing_else_could_work() -> None:
    batch = Batch(alone=False)
    with pytest.raises(errors.EnvironmentFaultError), batch.item():
        raise errors.EnvironmentFaultError("disk full")


@pytest.mark.parametrize("own", [None, "7"])
def test_waiting_threads_leave_the_cores_to_others(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    monkeypatch.setattr(os, "environ", {} if own is None else {"GOMP_SPINCOUNT": own})
    monkeypatch.setattr(app, "run", lambda arguments: 0)
    assert app.main() == 0
    assert os.environ["GOMP_SPINCOUNT"] == (own or "1000")


SLEEPER = """
import sys, time, types
from grn_cli import app
from grn_cli.__main__ import main
from grn_cli.options.shared import Speaking
class Sleep(Speaking):
    WORK, MORE, EXAMPLES = "sleeper:sleep", "", ()
def sleep(options) -> None:
    try:
        print("ready", flush=True)
        time.sleep(120)  # longer than the test waits
    finally:
        print("tidied", flush=True)
sys.modules["grn_cli.sleeper"] = types.SimpleNamespace(sleep=sleep)
sys.modules["grn_cli.options.sleeper"] = types.SimpleNamespace(Sleep=Sleep)
app.COMMANDS["sleep"] = ("Sleep.", "sleeper:Sleep")
sys.argv = ["grn", "sleep"]
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number: signal.Signals, code: int) -> None:
    process = start("-c", SLEEPER)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "tidied\n", "")


ENDING = """
import atexit, gc, sys, threading, time, types
from grn_cli import app
from grn_cli.__main__ import main
from grn_cli.options.shared import Speaking
class End(Speaking):
    WORK, MORE, EXAMPLES = "ender:end", "", ()
def later() -> None:
    time.sleep(0.2)
    print("thread done")
def end(options) -> None:
    threading.Thread(target=later).start()
    atexit.register(print, "closed")
    print("collects", gc.isenabled(), gc.get_freeze_count() > 1000)
    raise KeyError("a fault")
sys.modules["grn_cli.ender"] = types.SimpleNamespace(end=end)
sys.modules["grn_cli.options.ender"] = types.SimpleNamespace(End=End)
app.COMMANDS["end"] = ("End.", "ender:End")
sys.argv = ["grn", "end"]
class Kept:
    def __del__(self):
        print("taken apart")  # as an interpreter's end does with what modules hold, at length
sys.kept = Kept()
main()
"""


def test_a_command_ends_when_all_is_done_and_not_later() -> None:
    process = start("-c", ENDING)
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["collects True True", "thread done", "closed"]
    assert (process.returncode, "a fault" in err) == (1, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_while_weights_load(number: signal.Signals, code: int, tmp_path: Path, tokenizer: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8))
    loading = partial(interrupt_loading, int(number))
    process = Forked("tokenize", "a.png", "--tokenizer", tokenizer, folder=tmp_path, before=loading)
    assert process.wait() == (code, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


IMPORTING = """
import builtins, signal, sys
from grn_cli.__main__ import main
class Finder:
    def find_spec(self, name, *_):
        if name == "grn.files":
            signal.raise_signal(int(sys.argv.pop()))
sys.meta_path.insert(0, Finder())
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_before_everything_is_imported(number: signal.Signals, code: int) -> None:
    process = start("-c", IMPORTING, "--help", str(int(number)))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "")


SHELL = '"$@" <&- >&- 2>&- && test -s a.npz'


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
def test_closed_streams(tmp_path: Path, tokenizer: Path) -> None:
    """What opens first gets the number of a closed stream; it must not get what is meant for the stream."""
    write_image(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8))
    tokenize = ("tokenize", "a.png", "-o", "a.npz", "--force", "--tokenizer", tokenizer)
    grn = [sys.executable, "-m", "grn_cli", *tokenize]
    done = subprocess.run(
        ["sh", "-c", SHELL, "sh", *grn], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for number, said in enumerate(("a.npz\n", "", "a.npz\n")):
        assert Forked(*tokenize, folder=tmp_path, closed=(number,)).wait() == (0, said, "")
        PackedCodes.load(tmp_path / "a.npz")


def in_ascii(folder: Path, *arguments: bytes | str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command where the locale knows ASCII only: other bytes of arguments come as surrogates."""
    settings = {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "grn_cli", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="arguments are no bytes there")
def test_names_and_prompts_that_the_locale_lacks(tmp_path: Path, words: Path) -> None:
    name, model = "käse.png".encode(), ("-m", str(words), "--steps", "2")
    done = in_ascii(tmp_path, "generate", "cat and käse".encode(), *model, "-o", name)
    assert done.returncode == 0, done.stderr
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [name]
    assert json.loads(read_note(tmp_path / os.fsdecode(name)))["prompt"] == "cat and käse"
    refused = Forked("generate", "cat and k\udce4se", *model, folder=tmp_path).wait()
    assert (refused.code, refused.out, refused.err.count("\n")) == (3, "", 1)
    assert refused.err.startswith(r"grn: error: prompt 'cat and k\udce4se': is not text in UTF-8")


def test_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("-m", "grn_cli", "--help", stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == ""
    assert process.returncode == 141


def test_a_warning_that_cannot_be_written_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error may be a file on a full disk, which is what the warning is about."""

    tried: list[str] = []

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            tried.append(text)
            raise OSError(errno.ENOSPC, "no space left")

    Console()
    monkeypatch.setattr(sys, "stderr", Full())
    logging.getLogger("grn").warning("the disk is full")
    assert tried == ["grn: warning: the disk is full"]
