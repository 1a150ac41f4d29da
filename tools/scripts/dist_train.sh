#!/usr/bin/env bash
# Train on several GPUs of this machine: dist_train.sh NUM_GPUS --cfg_file ... [further options]
set -euo pipefail
gpus=${1:?usage: dist_train.sh NUM_GPUS --cfg_file FILE ...}
shift
exec torchrun --standalone --nproc_per_node="$gpus" \
    "$(dirname "$0")/../train.py" --launcher pytorch "$@"
