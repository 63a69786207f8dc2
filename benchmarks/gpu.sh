#!/usr/bin/env bash
# On a machine with a GPU, in at most 5 minutes: the tests that need one, then ours beside the published code.
# usage: benchmarks/gpu.sh CHECKOUT [options of published.py, such as --json]
set -eu
checkout=$(realpath "${1:?usage: benchmarks/gpu.sh CHECKOUT [options of published.py]}")
shift
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "gpu.sh: needs a CUDA device, and torch finds none" >&2
    exit 1
}
mapfile -t files < <(grep -rl "pytest.mark.gpu" tests --include="test_*.py")  # to look at all others takes as long as these
status=0
timeout 110 python -m pytest -q -m gpu "${files[@]}" || status=$?
timeout 190 python benchmarks/published.py "$checkout" --runs 2 "$@" || status=$?
exit $status
