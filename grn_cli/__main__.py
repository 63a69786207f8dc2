"""The `grn` command's first steps; `python -m grn_cli` is the same."""

import sys

from grn_cli import signals


def main() -> None:
    """The console script."""
    signals.listen()
    try:
        from grn_cli.app import main as run  # takes long enough to be interrupted
    except BaseException:
        if signals.received:
            sys.exit(128 + signals.received[0])
        raise
    run()


if __name__ == "__main__":
    main()
