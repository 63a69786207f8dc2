#!/usr/bin/env bash
# On a machine with a GPU, in at most 5 minutes: the tests that need one, then ours beside the published code.
# usage: benchmarks/gpu.sh CHECKOUT [options of published.py, such as --json]
set -eu
checkout=$(realpath "${1:?usage: benchmarks/gpu.sh CHECKOUT [options of published.py]}")
shift
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
timeout 110 python -m pytest -q -m gpu tests
timeout 190 python benchmarks/published.py "$checkout" --runs 2 "$@"
