#!/usr/bin/env bash
# Test with several processes on this machine: dist_test.sh PROCESSES --cfg_file FILE ...
. "$(dirname "$0")/launch.sh"
launch_with_torchrun test.py "$@"
