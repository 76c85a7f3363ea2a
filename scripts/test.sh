#!/usr/bin/env bash
# Everything from nothing: the environment with the test tools, the style check, the whole suite.
# Arguments go to pytest:  bash scripts/test.sh -k haze
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment dev
cd "$root"

say 'style: ruff'
ruff check
ruff format --check

# One thread a worker: two workers that each start a thread per core only wait for one another.
export OMP_NUM_THREADS=1
cores=$(getconf _NPROCESSORS_ONLN)
say 'tests: pytest'
pytest -n "$((cores > 8 ? 8 : cores > 1 ? cores : 0))" "$@"
