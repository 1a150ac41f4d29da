#!/usr/bin/env bash
# Train with several processes on this machine: dist_train.sh PROCESSES --cfg_file FILE ...
. "$(dirname "$0")/launch.sh"
launch_with_torchrun train.py "$@"
