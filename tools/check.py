"""Everything that must hold before a change lands, in this environment: `python -m tools.check [--fast]`.

--fast leaves out the tests. `.ci/run` does the same in a new environment, after the README's lines.
"""

import subprocess
import sys
import time

PYTHON = [sys.executable, "-m"]
CHECKS = {
    "ruff check": [*PYTHON, "ruff", "check", "--output-format", "concise", "."],
    "ruff format": [*PYTHON, "ruff", "format", "--check", "--output-format", "concise", "."],
    "mypy": [*PYTHON, "mypy"],
    "codespell": [*PYTHON, "codespell_lib"],
    "completions": [*PYTHON, "tools.completions", "--check"],
    "reference": [*PYTHON, "tools.reference", "--check"],
    "start of the command": [sys.executable, "benchmarks/startup.py"],
}
TESTS = {"tests": [*PYTHON, "pytest", "-n", "2"]}


def main(arguments: list[str]) -> int:
    """Run every check, also after one has failed; 1 if any did."""
    failed = []
    for name, command in (CHECKS if "--fast" in arguments else {**CHECKS, **TESTS}).items():
        start = time.monotonic()
        passed = subprocess.run(command).returncode == 0
        print(f"=== {name}: {'passed' if passed else 'FAILED'}, {time.monotonic() - start:.0f} s", flush=True)
        failed += [] if passed else [name]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
