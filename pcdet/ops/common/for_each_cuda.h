// Runs a functor over work items on CUDA, on the current stream, from a .cpp file.
#pragma once

#include <ATen/Context.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace pcdet {

// Defined in for_each_cuda.cuh, instantiated in the .cu files.
template <typename Item>
cudaError_t launch_for_each(int64_t count, const Item& item, cudaStream_t stream);
template <typename Item>
cudaError_t launch_for_each_pair(int64_t rows, int64_t columns, const Item& item,
                                 cudaStream_t stream);
template <typename Item>
cudaError_t launch_for_each_by_team(int64_t count, const Item& item, cudaStream_t stream);

struct Cuda {
  template <typename Item>
  static void for_each(int64_t count, const Item& item) {
    C10_CUDA_CHECK(launch_for_each(count, item, c10::cuda::getCurrentCUDAStream()));
  }

  template <typename Item>
  static void for_each_pair(int64_t rows, int64_t columns, const Item& item) {
    C10_CUDA_CHECK(launch_for_each_pair(rows, columns, item, c10::cuda::getCurrentCUDAStream()));
  }

  template <typename Item>
  static void for_each_by_team(int64_t count, const Item& item) {
    C10_CUDA_CHECK(launch_for_each_by_team(count, item, c10::cuda::getCurrentCUDAStream()));
  }

  // add_shared is atomic on CUDA, so the items may run side by side. The order of the additions is
  // another each time, of which torch's deterministic mode has to be told.
  template <typename Item>
  static void for_each_pair_adding(int64_t rows, int64_t columns, const Item& item) {
    at::globalContext().alertNotDeterministic("the gradient of RoI-aware pooling on CUDA");
    for_each_pair(rows, columns, item);
  }
};

}  // namespace pcdet
