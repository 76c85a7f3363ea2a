# Sourced by the other scripts: `make_environment [EXTRA] [SET]` leaves a ready virtual environment in the repository.
# SET is nothing (.venv, the versions of constraints.txt), `oldest` (.venv-oldest, constraints-oldest.txt) or `newest`
# (.venv-newest, what pip gives on the day).
# PYTHON=/path/to/python3.x chooses the interpreter of a new one. Doing it again takes a moment, as long as nothing has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, '"$2"'))' 2>/dev/null; }

find_python() {
  local candidate last=${1:-14}
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
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
  local last=$([[ $set == oldest ]] && echo 11 || echo 14)
  venv=$root/.venv${set:+-$set}
  stamp=$venv/.made-from${extra:+-$extra}
  recipe=$({ echo "$root"; cat "$root"/constraints*.txt "$root"/setup.py "$root"/scripts/{environment.sh,install.py}; } | cksum)
  [[ $set != newest ]] || recipe+=$(date +' %F')  # tomorrow pip may give something else
  if [[ -f $stamp && $(<"$stamp") == "$recipe" ]] && fits "$venv/bin/python" "$last"; then
    say "environment: $venv is up to date"
  else
    if ! fits "$venv/bin/python" "$last"; then
      python=$(find_python "$last")
      say "environment: $("$python" --version) in $venv"
      "$python" -m venv --clear "$venv"
    fi
    install "$extra" "$set" || return  # and no stamp, so that it is taken up again
    echo "$recipe" >"$stamp"
  fi
  export PATH=$venv/bin:$PATH
}

install() {
  local extras=() versions=()
  IFS=, read -r -a extras <<<"$1"
  case $2 in
    newest) versions=(--upgrade) ;;
    oldest) versions=(--constraint "$root/constraints-oldest.txt") ;;
  esac
  "$venv/bin/python" "$root/scripts/install.py" --editable ${versions[@]+"${versions[@]}"} ${extras[@]+"${extras[@]}"} || return
  "$venv/bin/basicsr" options --schema >"$root/options/schema.json"  # for editors
}
