// Checks of an operator's arguments; each message names the argument, what was expected, what came.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pcdet {

// `tensor` must have `dims` dimensions, the last of `columns` numbers.
inline void check_shape(const at::Tensor& tensor, const char* name, int64_t dims, int64_t columns) {
  TORCH_CHECK(tensor.dim() == dims && tensor.size(-1) == columns, name, " must have ", dims,
              " dimensions, the last of size ", columns, ", got shape ", tensor.sizes());
}

// `tensor` must be float32 or float64 of `dims` dimensions, the last of `columns` numbers.
inline void check_floats(const at::Tensor& tensor, const char* name, int64_t dims,
                         int64_t columns) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble, name,
              " must be float32 or float64, got ", tensor.scalar_type());
  check_shape(tensor, name, dims, columns);
}

// `other` must have the dtype and the device of `first`.
inline void check_alike(const at::Tensor& first, const char* first_name, const at::Tensor& other,
                        const char* other_name) {
  TORCH_CHECK(first.scalar_type() == other.scalar_type(), other_name, " must have the dtype of ",
              first_name, ", ", first.scalar_type(), ", got ", other.scalar_type());
  TORCH_CHECK(first.device() == other.device(), other_name, " must be on the device of ",
              first_name, ", ", first.device(), ", got ", other.device());
}

}  // namespace pcdet
