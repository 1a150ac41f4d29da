#!/usr/bin/env bash
# Compiles every .cu file for all GPU architectures that nvcc knows from Turing on (sm_75), warnings
# as errors. Neither a GPU nor a CUDA build of torch is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v nvcc > /dev/null; then
  echo "check_cuda_compile: skipped, nvcc is not on the PATH"
  exit 0
fi

targets=()
for number in $(nvcc --list-gpu-arch | sed -n 's/^compute_\([0-9]*\)$/\1/p'); do
  if ((number >= 75)); then
    targets+=("--generate-code=arch=compute_$number,code=sm_$number")
  fi
done

object=$(mktemp --suffix=.o)
trap 'rm -f "$object"' EXIT
for source in pcdet/ops/*/src/*.cu; do
  nvcc -std=c++17 -O3 -fmad=false --Werror all-warnings --threads 0 "${targets[@]}" \
    -c "$source" -o "$object"
  echo "check_cuda_compile: $source compiles for ${#targets[@]} architectures"
done
