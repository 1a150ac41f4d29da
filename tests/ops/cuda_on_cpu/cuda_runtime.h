// Just enough of the CUDA runtime to build the .cu files with g++ and run their kernels on the CPU.
//
// To be included before all else (-include), as nvcc does with its own. A launch runs at once, one
// thread after another in random order: a kernel that relies on an order of its threads gives
// another answer here. At __syncthreads the next thread has its turn, until all have come there; a
// block of which only some threads come there fails. A launch gets at most kMostBlocks blocks: a
// kernel that does not stride through its work leaves some of it undone. With LAUNCHES_FAIL in the
// environment every launch fails.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#define __CUDACC__
#define __CUDA_ARCH__ 900
#define __host__
#define __device__
#define __global__
// So that the linker cannot put the functions that the host has in the place of the kernels'.
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static  // the blocks run one after another

constexpr unsigned kMostBlocks = 5;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorLaunchFailure = 719
};
using cudaStream_t = struct CUstream_st*;

// What torch says is the current stream; a launch on any other fails.
inline cudaStream_t current_stream() { return reinterpret_cast<cudaStream_t>(0x51); }

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

// One thread of a block, with a stack of its own.
struct CudaThread {
  static constexpr std::size_t kStack = 1 << 16;
  std::unique_ptr<char[]> stack{new char[kStack]};
  ucontext_t context;
  bool done = false;
};

// The block that is running: its threads, whose turn it is, and what they run.
struct CudaBlock {
  std::vector<CudaThread> threads;
  CudaThread* running = nullptr;
  ucontext_t caller;
  std::mt19937 random;
  std::function<void()> body;

  // Runs `body` in every thread; tells whether all came to each __syncthreads.
  bool run(unsigned size) {
    threads.resize(size);
    for (CudaThread& thread : threads) {
      thread.done = false;
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.get();
      thread.context.uc_stack.ss_size = CudaThread::kStack;
      thread.context.uc_link = &caller;
      makecontext(&thread.context, start, 0);
    }
    std::vector<unsigned> order(size);
    std::iota(order.begin(), order.end(), 0u);
    unsigned done = 0;
    while (done == 0) {
      std::shuffle(order.begin(), order.end(), random);
      for (const unsigned t : order) {
        threadIdx = dim3(t, 0, 0);
        running = &threads[t];
        swapcontext(&caller, &running->context);
        done += running->done;
      }
    }
    return done == size;
  }

 private:
  static void start();
};

inline CudaBlock cuda_block;

inline void CudaBlock::start() {
  cuda_block.body();
  cuda_block.running->done = true;
}

inline void __syncthreads() { swapcontext(&cuda_block.running->context, &cuda_block.caller); }

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const bool one_dimensional = grid.y * grid.z * block.y * block.z == 1;
  if (grid.x == 0 || block.x == 0 || block.x > 1024 || !one_dimensional) {
    return cudaErrorInvalidConfiguration;
  }
  if (config->stream != current_stream() || std::getenv("LAUNCHES_FAIL")) {
    return cudaErrorInvalidResourceHandle;
  }
  gridDim = dim3(grid.x < kMostBlocks ? grid.x : kMostBlocks);
  blockDim = block;
  cuda_block.body = [&] { kernel(arguments...); };
  for (unsigned b = gridDim.x; b-- > 0;) {
    blockIdx = dim3(b, 0, 0);
    if (!cuda_block.run(block.x)) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
