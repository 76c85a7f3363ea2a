#!/usr/bin/env bash
# Everything from nothing: the environment with the test tools, the style and type checks, the suite.
#   bash scripts/test.sh            the versions of constraints.txt, all tests but the long ones
#   bash scripts/test.sh --long     the long ones alone: further variants of what the suite tests
#   bash scripts/test.sh --oldest   the core of the suite on the oldest versions, constraints-oldest.txt
#   bash scripts/test.sh --newest   the core of the suite on the newest versions that pip gives today
# Further arguments go to pytest:  bash scripts/test.sh -k haze
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# What touches torch, numpy, OpenCV, LMDB, pydantic and BasicSR: where versions differ. Reports, scripts, pages and the
# optional packages are the whole suite's.
core=(tests/archs tests/losses tests/metrics tests/models tests/engine tests/data tests/inference/test_image_files.py tests/test_compat.py tests/test_training.py)

set=
long=
case ${1:-} in
  --long)
    long=yes
    shift
    ;;
  --oldest | --newest)
    set=${1#--}
    shift
    ;;
esac

make_environment "dev$([[ $set ]] || echo ,all)" "$set"
cd "$root"

# A worker that is done takes work from another. One thread a worker: two workers that each start a thread per core only wait for one another.
export OMP_NUM_THREADS=1
cores=$(getconf _NPROCESSORS_ONLN)
workers=$((cores > 8 ? 8 : cores > 1 ? cores : 0))

if [[ $set ]]; then
  python - <<'PYTHON'
import importlib.metadata as metadata
import platform

names = ('torch', 'torchvision', 'basicsr', 'numpy', 'opencv-python', 'lmdb', 'pydantic', 'pillow', 'scipy')
print('\n== versions: Python', platform.python_version(), *(f'{name} {metadata.version(name)}' for name in names), sep=', ')
PYTHON
  say "tests: the core of the suite on the $set versions"
  exec pytest -n "$workers" --dist worksteal -p no:cacheprovider "$@" "${core[@]}"
fi

if [[ $long ]]; then
  say 'tests: the long ones'
  exec pytest -n "$workers" --dist worksteal -m long "$@"
fi

say 'style: ruff'
ruff check
ruff format --check

if python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  say 'types: pyright'
  pyright --pythonpath "$venv/bin/python"
else
  say 'types: checked for Python 3.10 where later ones run, which have PyAV 18'
fi

say 'tests: pytest'
pytest -n "$workers" --dist worksteal "$@"
