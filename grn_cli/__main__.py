"""The `grn` command's first and last steps; `python -m grn_cli` is the same."""

import atexit
import gc
import os
import sys

from grn_cli import signals

_code: list[int] = []


def main() -> None:
    """The console script."""
    atexit.register(_leave)  # the first to be registered is the last to be called
    signals.listen()
    gc.disable()  # until a command's work begins: what is imported stays, and looking through it for garbage takes 0.1 s
    try:
        from grn_cli.app import main as run  # takes long enough to be interrupted
    except BaseException:
        if signals.received:
            sys.exit(128 + signals.received[0])
        raise
    _code.append(run())
    sys.exit(_code[0])


def _leave() -> None:
    """End the process once everything is closed and written: to take torch's modules apart one by one takes 0.5 s."""
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        return  # the interpreter has its own word for that
    if _code:
        os._exit(_code[0])


if __name__ == "__main__":
    main()
