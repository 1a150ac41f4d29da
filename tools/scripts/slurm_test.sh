#!/usr/bin/env bash
# Test under Slurm: slurm_test.sh PARTITION JOB_NAME GPUS --cfg_file FILE ...
. "$(dirname "$0")/launch.sh"
launch_with_srun test.py "$@"
