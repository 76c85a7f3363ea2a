#!/usr/bin/env bash
# Train the weights that the package ships, all stages, and measure them:  bash scripts/train_weights.sh DATA [ARGUMENTS]
#   DATA       a folder with nyu/ (as scripts/prepare_nyu.py makes it: prepare_nyu.py FILE DATA/nyu), outdoor_rgbd/clear and
#              outdoor_rgbd/depth, any clear outdoor images with depth, and the test sets of scripts/evaluate_weights.py
#   ARGUMENTS  of `basicsr train` for all stages, as --set num_gpu=0; without others, amp and channels_last are off where the device has no bf16, or AVX2 alone
# Runs go to experiments/ of the current folder, the result is experiments/okdnet_7/models/net_g_latest.pth. Interrupted by Ctrl-C or SIGTERM, a run is saved; the same command goes on.
# LIMIT=N measures N images of each test set at most. On a CPU that other work shares, OMP_NUM_THREADS=1 is fastest.
set -euo pipefail

if [[ $# -lt 1 || ! -d $1 ]]; then
  echo "usage: bash ${0} DATA [ARGUMENTS OF basicsr train]   (DATA: a folder; see the head of this script)" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DATA=$1 NYU=$1/nyu OUTDOOR=$1/outdoor_rgbd OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
shift
[[ ! -d $NYU/train ]] || NYU=$NYU/train
for folder in "$NYU" "$OUTDOOR"; do
  if [[ ! -d $folder/clear || ! -d $folder/depth ]]; then
    echo "error: $folder/clear or $folder/depth does not exist; the head of ${0} says what DATA holds" >&2
    exit 2
  fi
done
# On some CPUs bfloat16 is only emulated and takes far longer than float32; with AVX2 alone channels_last takes longer, too.
settings=$(python - "$@" <<'PYTHON'
import sys

import torch

from okdnet_plugin.engine.precision import complaint_about_bf16

has_gpu = torch.cuda.is_available() and 'num_gpu=0' not in sys.argv
print('amp=off' if complaint_about_bf16(torch.device('cuda' if has_gpu else 'cpu')) else 'amp=bf16')
print('channels_last=false' if not has_gpu and torch.backends.cpu.get_cpu_capability() == 'AVX2' else 'channels_last=true')
PYTHON
)
# shellcheck disable=SC2206
more=(--set $settings "$@")
no_validation=(datasets.val=_delete_ val=_delete_)
if [[ ! -d $DATA/sots_indoor_val ]]; then
  more+=(--set "${no_validation[@]}")
  no_validation=()
fi
stages=(okdnet_1 okdnet_2 okdnet_3 okdnet_4 okdnet_5 okdnet_6 okdnet_7)

child=
stopped=
trap '[[ -n $child ]] || exit 143; stopped=yes; kill -TERM "$child" 2>/dev/null || true' INT TERM
run() {  # a command that signals reach through this script
  "$@" &
  child=$!
  local code=0
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do  # a signal has ended the waiting, and the command is saving
    code=0
    wait "$child" || code=$?
  done
  child=
  [[ -z $stopped || $code != 0 ]] || code=143  # the command was done already; what follows is not to begin
  return "$code"
}

# Hours that a stage will take, from a few of its steps.
estimate() {
  local stage=$1 log=experiments/try_$1
  rm -rf "$log"
  mkdir -p experiments
  if ! run basicsr train -opt "$root/options/weights/$stage.yml" "${more[@]}" --set name="try_$stage" train.total_iter=5 \
    train.recalibrate_bn=0 path.pretrain_network_g=null path.param_key_g=params logger.print_freq=1 "${no_validation[@]}" \
    >"$log.txt" 2>&1; then
    tail -n 3 "$log.txt" >&2
    return 1
  fi
  python - "$root/options/weights/$stage.yml" "$log/metrics.jsonl" "${more[@]}" <<'PYTHON'
import json
import sys

from okdnet_plugin import config

file, journal, *more = sys.argv[1:]
steps = config.load(file)['train']['total_iter']
steps = next((int(text.partition('=')[2]) for text in more if text.startswith('train.total_iter=')), steps)
with open(journal, encoding='utf-8') as lines:
    times = sorted(entry['time'] for entry in map(json.loads, lines) if entry.get('iter', 0) > 2 and 'time' in entry)
seconds = times[len(times) // 2]
minutes = steps * seconds / 60
told = f'{minutes / 60:.1f} hours' if minutes > 90 else f'{minutes:.0f} minutes'
print(f'{steps} steps of {seconds:.2f} s: {told}')
PYTHON
  rm -rf "$log" "$log.txt"
}

for stage in "${stages[@]}"; do
  if [[ -f experiments/$stage/done ]]; then
    echo "== $stage is done"
  else
    printf '== %s: ' "$stage"
    estimate "$stage"
  fi
done
for stage in "${stages[@]}"; do
  [[ ! -f experiments/$stage/done ]] || continue
  echo "== basicsr train -opt options/weights/$stage.yml --auto_resume"
  run basicsr train -opt "$root/options/weights/$stage.yml" --auto_resume "${more[@]}"
  touch "experiments/$stage/done"
done
weights=experiments/${stages[-1]}/models/net_g_latest.pth
echo "== evaluation of $weights"
run python "$root/scripts/evaluate_weights.py" "$DATA" --weights "$weights" -o reports/okdnet ${LIMIT:+--limit "$LIMIT"}
