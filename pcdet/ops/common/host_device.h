// Marks functions that run on both devices, and hides the few things in which they differ.
#pragma once

#ifdef __CUDACC__
#define PCDET_HD __host__ __device__ __forceinline__
#else
#define PCDET_HD inline
#endif

namespace pcdet {

// Adds `value` to `*sum`. CUDA threads may share a sum; on the CPU the caller runs serially, so
// the order of the additions, and the result with it, is always the same.
template <typename T>
PCDET_HD void add_shared(T* sum, T value) {
#ifdef __CUDA_ARCH__
  atomicAdd(sum, value);
#else
  *sum += value;
#endif
}

constexpr int kMostInTeam = 256;

// The threads that work on one item together: a block on CUDA, one alone on the CPU.
struct Team {
  int rank, size;  // of this thread, from 0; of the team, at most kMostInTeam

  // Waits for all threads of the team; each then sees what the others wrote.
  PCDET_HD void meet() const {
#ifdef __CUDA_ARCH__
    __syncthreads();
#endif
  }
};

}  // namespace pcdet
