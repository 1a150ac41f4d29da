// Kernels that run a functor over work items; included by the .cu files alone.
//
// A .cu file instantiates the launch_for_each functions for its functors; the .cpp files call them
// through for_each_cuda.h. No torch header is needed to compile a .cu file.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "host_device.h"

namespace pcdet {

constexpr int kThreadsPerBlock = kMostInTeam;
constexpr int64_t kMaxBlocks = 1 << 20;  // the kernels stride, so any number of blocks will do

template <typename Item>
__global__ void for_each_kernel(int64_t count, Item item) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) item(i);
}

template <typename Item>
__global__ void for_each_pair_kernel(int64_t rows, int64_t columns, Item item) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x, count = rows * columns;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    item(i / columns, i % columns);
  }
}

template <typename Item>
__global__ void for_each_by_team_kernel(int64_t count, Item item) {
  __shared__ typename Item::Scratch scratch;
  const Team team{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
  for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
    item(i, team, scratch);
    team.meet();  // the next item has the same scratch
  }
}

inline cudaLaunchConfig_t launch_config(int64_t blocks, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks));
  config.blockDim = dim3(kThreadsPerBlock);
  config.stream = stream;
  return config;
}

inline int64_t blocks_of(int64_t threads) {
  return (threads + kThreadsPerBlock - 1) / kThreadsPerBlock;
}

// Calls item(i) for i in [0, count) on `stream`, without waiting for it.
template <typename Item>
cudaError_t launch_for_each(int64_t count, const Item& item, cudaStream_t stream) {
  if (count <= 0) return cudaSuccess;
  const cudaLaunchConfig_t config = launch_config(blocks_of(count), stream);
  return cudaLaunchKernelEx(&config, for_each_kernel<Item>, count, item);
}

// Calls item(row, column) for every pair on `stream`; neighbouring threads take neighbouring
// columns.
template <typename Item>
cudaError_t launch_for_each_pair(int64_t rows, int64_t columns, const Item& item,
                                 cudaStream_t stream) {
  if (rows <= 0 || columns <= 0) return cudaSuccess;
  const cudaLaunchConfig_t config = launch_config(blocks_of(rows * columns), stream);
  return cudaLaunchKernelEx(&config, for_each_pair_kernel<Item>, rows, columns, item);
}

// Calls item(i, team, scratch) for i in [0, count) on `stream`, by a block of threads each. Scratch
// is memory that the team shares, whatever it held before.
template <typename Item>
cudaError_t launch_for_each_by_team(int64_t count, const Item& item, cudaStream_t stream) {
  if (count <= 0) return cudaSuccess;
  const cudaLaunchConfig_t config = launch_config(count, stream);
  return cudaLaunchKernelEx(&config, for_each_by_team_kernel<Item>, count, item);
}

}  // namespace pcdet
