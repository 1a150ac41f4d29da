#!/usr/bin/env bash
# Compiles the operators with clang, and for ARM with what compilers for it there are, warnings as
# errors.
#
#   check_portable_compile.sh       the arithmetic, without torch; run by each build, on ARM by
#                                   qemu-user, and compared with g++'s results (seconds)
#   check_portable_compile.sh PYTHON  the .cpp files too, against the headers of that Python's torch
#                                   (minutes)
#
# On Debian: apt-get install clang g++-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

flags=(-std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Werror)
arm=(--target=aarch64-linux-gnu)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

there() { command -v "$1" > /dev/null; }

if ! there g++; then
  echo "check_portable_compile: skipped, g++ is not on the PATH"
  exit 0
fi
compilers=("g++")
if there clang++; then compilers+=("clang++"); fi
if there aarch64-linux-gnu-g++; then
  compilers+=("aarch64-linux-gnu-g++")
  if there clang++; then compilers+=("clang++ ${arm[*]}"); fi
else
  echo "check_portable_compile: nothing for ARM, aarch64-linux-gnu-g++ is not on the PATH"
fi

harness=tests/ops/portable
for compiler in "${compilers[@]}"; do
  run=()
  if [[ $compiler == *aarch64* ]]; then run=(qemu-aarch64); fi
  $compiler "${flags[@]}" -static -I$harness $harness/operators.cpp -o "$folder/operators"
  if [[ $compiler == g++ ]]; then
    "$folder/operators" "$folder/results"
    echo "check_portable_compile: g++ builds the arithmetic"
  elif [[ ${#run[@]} == 0 ]] || there "${run[0]}"; then
    "${run[@]}" "$folder/operators" --check "$folder/results"
    echo "check_portable_compile: $compiler builds the arithmetic, with g++'s results"
  else
    echo "check_portable_compile: $compiler builds the arithmetic; not run without ${run[0]}"
  fi
done

if (($# == 0)); then exit 0; fi
torch=$("$1" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent / "include")')
for compiler in "${compilers[@]:1}"; do
  for source in pcdet/ops/*/src/*.cpp; do
    $compiler "${flags[@]}" -fsyntax-only -isystem "$torch" \
      -isystem "$torch/torch/csrc/api/include" "$source"
    echo "check_portable_compile: $compiler compiles $source"
  done
done
