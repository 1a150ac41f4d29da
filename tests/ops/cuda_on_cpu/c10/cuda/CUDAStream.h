// Stands in for torch's header, which a CPU build of torch lacks.
#pragma once

#include <cuda_runtime.h>

namespace c10::cuda {
inline cudaStream_t getCurrentCUDAStream() { return current_stream(); }
}  // namespace c10::cuda
