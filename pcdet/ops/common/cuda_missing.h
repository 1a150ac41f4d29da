// Stands in for an operator's CUDA implementation in a build without CUDA.
#pragma once

#include <torch/library.h>

namespace pcdet {

inline void raise_cuda_missing(const c10::OperatorHandle& op, torch::jit::Stack*) {
  TORCH_CHECK(
      false, op.schema().name(),
      " got CUDA tensors, but pcdet was built for the CPU alone: build it again with a CUDA "
      "build of torch and a CUDA toolkit");
}

inline torch::CppFunction cuda_missing() {
  return torch::CppFunction::makeFromBoxedFunction<&raise_cuda_missing>();
}

}  // namespace pcdet
