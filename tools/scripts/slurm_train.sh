#!/usr/bin/env bash
# Train under Slurm: slurm_train.sh PARTITION JOB_NAME GPUS --cfg_file FILE ...
. "$(dirname "$0")/launch.sh"
launch_with_srun train.py "$@"
