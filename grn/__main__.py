"""`python -m grn` is the `grn` command."""

import runpy

if __name__ == "__main__":
    runpy.run_module("grn_cli", run_name="__main__")  # the command by its name: the library imports nothing of it
