# Sourced by the other scripts: `make_environment [EXTRA] [SET]` leaves a ready virtual environment in the repository.
# SET is nothing (.venv, the versions of constraints.txt), `oldest` (.venv-oldest, constraints-oldest.txt) or `newest`
# (.venv-newest, what pip gives on the day).
# PYTHON=/path/to/python3.x chooses the interpreter of a new one. Doing it again takes a moment, as long as nothing has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, '"${2:-12}"'))' 2>/dev/null; }

find_python() {
  local candidate last=${1:-12}
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.10; do
    if fits "$candidate" "$last"; then
      command -v "$candidate"
      return
    elif [[ $candidate == "${PYTHON:-}" ]]; then
      break  # who names an interpreter does not want another one
    fi
  done
  echo "error: ${PYTHON:-python3} is not a Python 3.10 to 3.$last: install one, or name it: PYTHON=/path/to/python3.11 bash ${0}" >&2
  return 1
}

make_environment() {
  local extra=${1:-} set=${2:-} python stamp recipe
  # torch 2.1 has no wheels for Python 3.12.
  local last=$([[ $set == oldest ]] && echo 11 || echo 12)
  venv=$root/.venv${set:+-$set}
  stamp=$venv/.made-from${extra:+-$extra}
  recipe=$({ echo "$root"; cat "$root"/constraints*.txt "$root/setup.py" "$root/scripts/environment.sh"; } | cksum)
  [[ $set != newest ]] || recipe+=$(date +' %F')  # tomorrow pip may give something else
  if [[ -f $stamp && $(<"$stamp") == "$recipe" ]] && fits "$venv/bin/python" "$last"; then
    say "environment: $venv is up to date"
  else
    if ! fits "$venv/bin/python" "$last"; then
      python=$(find_python "$last")
      say "environment: $("$python" --version) in $venv"
      "$python" -m venv --clear "$venv"
    fi
    install "$extra" "$set"
    echo "$recipe" >"$stamp"  # last, so that an interrupted installation is taken up again
  fi
  export PATH=$venv/bin:$PATH
}

install() {
  local extra=$1 set=$2 pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
  case $set in
    newest) pip+=(--upgrade --upgrade-strategy eager) ;;
    oldest) pip+=(--constraint "$root/constraints-oldest.txt") ;;
    *) pip+=(--constraint "$root/constraints.txt") ;;
  esac
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
  "$venv/bin/basicsr" options --schema >"$root/options/schema.json"  # for editors
}
