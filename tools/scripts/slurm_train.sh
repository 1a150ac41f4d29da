#!/usr/bin/env bash
# Train under Slurm: slurm_train.sh PARTITION JOB_NAME NUM_GPUS --cfg_file ... [further options]
# GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS in the environment change the request.
set -euo pipefail
usage="usage: slurm_train.sh PARTITION JOB_NAME NUM_GPUS --cfg_file FILE ..."
partition=${1:?$usage} job=${2:?$usage} gpus=${3:?$usage}
shift 3
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086 - SRUN_ARGS holds several words
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} python -u "$(dirname "$0")/../train.py" --launcher slurm "$@"
