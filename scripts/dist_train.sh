#!/usr/bin/env bash
# Train on N GPUs of this machine, or in N processes of its CPU:  bash scripts/dist_train.sh N OPTION_FILE [ARGUMENTS]
# Arguments are those of `basicsr train`, for example --auto_resume. Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 save first, as far
# as an iteration and its save take less than 30 seconds, after which torchrun ends its processes.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: bash ${0} N OPTION_FILE [ARGUMENTS OF basicsr train]   (N: processes, one a GPU)" >&2
  exit 2
fi
processes=$1 options=$2
shift 2
exec python -m torch.distributed.run --standalone --nproc_per_node="$processes" \
  --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 -m okdnet_plugin \
  train -opt "$options" --launcher pytorch "$@"
