#!/usr/bin/env bash
# Train on N GPUs of this machine, or in N processes of its CPU:  bash scripts/dist_train.sh N OPTION_FILE [ARGUMENTS]
# Arguments are those of `basicsr train`, for example --auto_resume. Ctrl-C or SIGTERM saves first.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: bash ${0} N OPTION_FILE [ARGUMENTS OF basicsr train]   (N: processes, one a GPU)" >&2
  exit 2
fi
processes=$1 options=$2
shift 2
exec python -m torch.distributed.run --standalone --nproc_per_node="$processes" -m okdnet_plugin \
  train -opt "$options" --launcher pytorch "$@"
