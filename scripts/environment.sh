# Sourced by the other scripts: `make_environment [EXTRA]` leaves a ready virtual environment in .venv of the repository.
# PYTHON=/path/to/python3.x chooses the interpreter of a new one. Doing it again takes a moment, as long as nothing has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { printf '\n== %s\n' "$*"; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.10; do
    if fits "$candidate"; then
      command -v "$candidate"
      return
    elif [[ $candidate == "${PYTHON:-}" ]]; then
      break  # who names an interpreter does not want another one
    fi
  done
  echo "error: ${PYTHON:-python3} is not a Python 3.10, 3.11 or 3.12: install one, or name it: PYTHON=/path/to/python3.11 bash ${0}" >&2
  return 1
}

make_environment() {
  local extra=${1:-} python stamp recipe
  stamp=$venv/.made-from${extra:+-$extra}
  recipe=$({ echo "$root"; cat "$root/constraints.txt" "$root/setup.py" "$root/scripts/environment.sh"; } | cksum)
  if [[ -f $stamp && $(<"$stamp") == "$recipe" ]] && fits "$venv/bin/python"; then
    say "environment: $venv is up to date"
  else
    if ! fits "$venv/bin/python"; then
      python=$(find_python)
      say "environment: $("$python" --version) in $venv"
      "$python" -m venv --clear "$venv"
    fi
    install "$extra"
    echo "$recipe" >"$stamp"  # last, so that an interrupted installation is taken up again
  fi
  export PATH=$venv/bin:$PATH
}

install() {
  local extra=$1 pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$root/constraints.txt")
  say 'environment: torch and the build tools (some minutes, about 5 GB on Linux)'
  "${pip[@]}" torch torchvision numpy setuptools wheel cython
  # Built without isolation, basicsr finds torch here; pip would otherwise download a second one to build with.
  say 'environment: basicsr, a build from source, and what it needs'
  "${pip[@]}" --no-build-isolation basicsr
  say "environment: this package${extra:+ with [$extra]}"
  "${pip[@]}" --no-build-isolation --editable "$root${extra:+[$extra]}"
  if ! "$venv/bin/python" -c 'import cv2' 2>/dev/null; then
    say 'environment: OpenCV lacks a system library for its windows (libGL): the same version without windows goes over it'
    "${pip[@]}" --no-deps --force-reinstall opencv-python-headless
    "$venv/bin/python" -c 'import cv2'
  fi
}
