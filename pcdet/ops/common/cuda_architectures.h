// What setup.py has an extension's kernels compiled for.
#pragma once

#include <string>

namespace pcdet {

// GPU architectures such as 7.5,8.0,12.0+PTX; none in a build for the CPU alone.
static inline std::string cuda_architectures() {
#define PCDET_TEXT(...) #__VA_ARGS__
#define PCDET_TEXT_OF(...) PCDET_TEXT(__VA_ARGS__)
#ifdef PCDET_CUDA_ARCHITECTURES
  return PCDET_TEXT_OF(PCDET_CUDA_ARCHITECTURES);
#else
  return "";
#endif
}

}  // namespace pcdet
