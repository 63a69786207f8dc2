"""Processes forked from one that has imported everything: what a process alone can show, without its seconds of imports."""

import io
import multiprocessing as mp
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple


def context() -> ForkServerContext:
    """Where such processes come from; the server starts with the first and serves all tests of this process."""
    found = mp.get_context("forkserver")
    found.set_forkserver_preload(
        ["grn.training.run", "accelerate.utils", "helpers.training", "grn_cli.app", "grn.pipeline", "grn_cli.tokenize"]
    )
    return found


def code_of_child(act: Callable[[], int]) -> int:
    """The exit code of a child that does this: what it returns, or 99 where it fails, which is never the tests' to go on with."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def limit_files(size: int) -> None:
    """No file of this process grows beyond so many bytes, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Ended(NamedTuple):
    code: int | None
    out: str
    err: str


class Forked:
    """A `grn` command in a process of its own, its output in two files, or where `err` names a terminal on that."""

    def __init__(
        self,
        *arguments: object,
        folder: Path,
        closed: tuple[int, ...] = (),
        err: str = "",
        before: Callable[[], None] | None = None,
        **environment: str,
    ) -> None:
        """closed: numbers of standard streams. before: what the process calls first, a function of a module's top."""
        self.folder = folder.with_name(f"{folder.name}-streams")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        files = ("/dev/null", str(self.folder / "out"), err or str(self.folder / "err"))
        words = ["grn", *(str(argument) for argument in arguments)]
        self.process = context().Process(target=_run, args=(words, folder, files, closed, before, environment))
        self.process.start()

    def text(self, name: str) -> str:
        """What has come into "out" or "err" so far."""
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def first_line(self, seconds: float = 30) -> str:
        """What it says first on standard error, waiting for that."""
        end = time.monotonic() + seconds
        while "\n" not in (said := self.text("err")) and time.monotonic() < end and self.process.is_alive():
            time.sleep(0.02)
        return said

    def wait(self, seconds: float = 60) -> Ended:
        """Its exit code, None if it does not end in time (and is killed), and what it said."""
        self.process.join(seconds)
        code = self.process.exitcode
        self.process.kill()
        return Ended(code, self.text("out"), self.text("err"))


def _run(
    words: list[str],
    folder: Path,
    files: tuple[str, ...],
    closed: tuple[int, ...],
    before: Callable[[], None] | None,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for number, (name, path) in enumerate(zip(("stdin", "stdout", "stderr"), files, strict=True)):
        opened = os.open(path, (os.O_WRONLY | os.O_CREAT) if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)
        if number in closed:
            os.close(number)
            setattr(sys, name, None)  # as Python finds it when it starts
        else:
            raw = io.FileIO(number, "w" if number else "r", closefd=False)
            buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, line_buffering=number == 2))
    sys.argv = words
    if before is not None:
        before()
    from grn_cli.__main__ import main

    main()


def interrupt_loading(number: int) -> None:
    """From here on a signal comes where weights are read; safetensors and others make errors of their own of it."""
    import grn.models.tensors as tensors

    def interrupted(*_: Any, **__: Any) -> None:
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raise RuntimeError("could not be read") from error

    tensors.load_file = tensors.safe_open = interrupted
