// Defines an operator for tensors of every device: where it has no code of its own, it copies them
// to the CPU and its results back.
#pragma once

#include <ATen/native/CPUFallback.h>
#include <torch/library.h>

#include <string>

namespace pcdet {

// All tensors must be on one device: the copies would hide that they are not.
inline void check_one_device(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) {
  const auto& schema = op.schema().arguments();
  const at::Tensor* first = nullptr;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].isTensor()) continue;
    const at::Tensor& tensor = arguments[i].toTensor();
    if (first == nullptr) first = &tensor;
    TORCH_CHECK(tensor.device() == first->device(), schema[i].name(), " must be on the device of ",
                schema[0].name(), ", ", first->device(), ", got ", tensor.device());
  }
}

// Once in a process, whichever operator comes first.
inline void warn_of_copies(const std::string& name, const c10::Device& device) {
  TORCH_WARN_ONCE(
      "pcdet: ", name, " has no code for ", device.type(), " in this build, so tensors are copied ",
      "to the CPU and back, here and in pcdet's other operators. For CUDA, install the compiler ",
      "of torch's CUDA (`pip install \"cuda-toolkit[nvcc]==X.Y.*\"`, where torch.version.cuda is ",
      "X.Y) and build again: `pip install --no-build-isolation -e .` in the repository; ",
      "`python -m pcdet.doctor` tells what was built");
}

inline void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  check_one_device(op, arguments);
  warn_of_copies(op.schema().name(), arguments[0].toTensor().device());
  at::native::cpu_fallback(op, stack);
}

// GPU architectures that setup.py has this extension's kernels compiled for, such as
// 7.5,8.0,12.0+PTX; none in a build without CUDA.
static inline std::string cuda_architectures() {
#define PCDET_TEXT(...) #__VA_ARGS__
#define PCDET_TEXT_OF(...) PCDET_TEXT(__VA_ARGS__)
#ifdef PCDET_CUDA_ARCHITECTURES
  return PCDET_TEXT_OF(PCDET_CUDA_ARCHITECTURES);
#else
  return "";
#endif
}

// `schema` names a tensor first.
inline void define(torch::Library& library, const char* schema) {
  library.def(schema, torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd,
                                      torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>()));
}

}  // namespace pcdet
