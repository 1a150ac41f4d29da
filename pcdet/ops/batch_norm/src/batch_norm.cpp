// The batch normalisation operators: checks, memory, threads and the choice of instructions.
#include "batch_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

namespace pcdet {
namespace {

// The loops over a block of rows, compiled for one family of processors.
#define PCDET_KERNELS(NAME, ATTRIBUTE)                                                             \
  template <typename T, typename Op>                                                               \
  struct NAME {                                                                                    \
    ATTRIBUTE static void moments(const T* x, const Op* counts, int64_t begin, int64_t end,        \
                                  int64_t channels, double* sums, double* squares) {               \
      block_moments(x, counts, begin, end, channels, sums, squares);                               \
    }                                                                                              \
    ATTRIBUTE static void normalise(const Normalised<T, Op>& rows, int64_t begin, int64_t end,     \
                                    T* y) {                                                        \
      block_normalise(rows, begin, end, y);                                                        \
    }                                                                                              \
    ATTRIBUTE static void gradient_sums(const T* grad, const Normalised<T, Op>& rows,              \
                                        int64_t begin, int64_t end, double* sums,                  \
                                        double* products) {                                        \
      block_gradient_sums(grad, rows, begin, end, sums, products);                                 \
    }                                                                                              \
    ATTRIBUTE static void gradient(const T* grad, const Normalised<T, Op>& rows, const Op* counts, \
                                   const Op* offset, const Op* slope, int64_t begin, int64_t end,  \
                                   T* grad_x) {                                                    \
      block_gradient(grad, rows, counts, offset, slope, begin, end, grad_x);                       \
    }                                                                                              \
  }

PCDET_KERNELS(AnyProcessor, );
#ifdef __x86_64__
PCDET_KERNELS(Avx2Processor, __attribute__((target("avx2,fma"))));
#endif
#undef PCDET_KERNELS

// Calls work(kernels) with those of the newest instructions that torch uses here.
template <typename T, typename Op, typename Work>
void with_kernels(const Work& work) {
#ifdef __x86_64__
  static const bool has_avx2 = at::get_cpu_capability().rfind("AVX", 0) == 0;
  if (has_avx2) return work(Avx2Processor<T, Op>());
#endif
  work(AnyProcessor<T, Op>());
}

// `tensor` must be (rows, channels), on the CPU and without gaps.
void check_rows(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.dim() == 2 && tensor.is_contiguous(), name,
              " must be contiguous and have 2 dimensions, got shape ", tensor.sizes(),
              " and strides ", tensor.strides());
}

// `tensor` must have a number for each channel, in the type that rows are computed in.
void check_channels(const at::Tensor& tensor, const char* name, const at::Tensor& rows) {
  TORCH_CHECK(tensor.dim() == 1 && tensor.size(0) == rows.size(1) && tensor.is_contiguous() &&
                  tensor.scalar_type() == at::toOpMathType(rows.scalar_type()),
              name, " must be contiguous and have shape [", rows.size(1), "] and dtype ",
              at::toOpMathType(rows.scalar_type()), ", got ", tensor.sizes(), " and ",
              tensor.scalar_type());
}

// `counts`, if given, must say for each row how often it is there, in the type of the computation.
void check_counts(const std::optional<at::Tensor>& counts, const at::Tensor& rows) {
  const at::ScalarType type = at::toOpMathType(rows.scalar_type());
  TORCH_CHECK(!counts || (counts->dim() == 1 && counts->size(0) == rows.size(0) &&
                          counts->is_contiguous() && counts->scalar_type() == type),
              "counts must be contiguous and have shape [", rows.size(0), "] and dtype ", type,
              ", got ", counts->sizes(), " and ", counts->scalar_type());
}

template <typename Op>
const Op* data_or_null(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<Op>() : nullptr;
}

// Calls block(begin, end) for blocks of rows, on several threads.
template <typename Block>
void for_each_block(int64_t rows, const Block& block) {
  at::parallel_for(0, (rows + kBlock - 1) / kBlock, 1, [&](int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) block(k, k * kBlock, std::min((k + 1) * kBlock, rows));
  });
}

// (2, C) double: the sums that sum_block(begin, end, sums, products) makes of all blocks.
template <typename SumBlock>
at::Tensor sum_blocks(int64_t rows, int64_t channels, const SumBlock& sum_block) {
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  const at::Tensor parts = at::zeros({blocks, 2, channels}, at::kDouble);
  double* data = parts.mutable_data_ptr<double>();
  for_each_block(rows, [&](int64_t k, int64_t begin, int64_t end) {
    double* sums = data + 2 * k * channels;
    sum_block(begin, end, sums, sums + channels);
  });
  return parts.sum(0);
}

// Mean and biased variance (C,) of the channels, in the type of the computation.
std::tuple<at::Tensor, at::Tensor> moments(const at::Tensor& x,
                                           const std::optional<at::Tensor>& counts) {
  check_rows(x, "x");
  check_counts(counts, x);
  TORCH_CHECK(x.size(0) > 0, "x must have a row at least");
  const int64_t rows = x.size(0), channels = x.size(1);
  // A double has no digits to spare for the square of a float64: of its distance from the first
  // row.
  const bool moved = x.scalar_type() == at::kDouble;
  const at::Tensor values = moved ? x - x[0] : x;
  at::Tensor sums;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "moments", [&] {
    using Op = at::opmath_type<scalar_t>;
    with_kernels<scalar_t, Op>([&](auto kernels) {
      sums = sum_blocks(rows, channels, [&](int64_t begin, int64_t end, double* s, double* q) {
        kernels.moments(values.const_data_ptr<scalar_t>(), data_or_null<Op>(counts), begin, end,
                        channels, s, q);
      });
    });
  });
  sums = counts ? sums / counts->sum(at::kDouble) : sums / rows;
  const at::Tensor mean = sums[0];
  const at::Tensor variance = (sums[1] - mean * mean).clamp_min(0);
  const at::ScalarType type = at::toOpMathType(x.scalar_type());
  return {(moved ? mean + x[0] : mean).to(type), variance.to(type)};
}

// Checks what rows are normalised by; returns the factor of each channel, weight * inverse_std.
at::Tensor checked_scale(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& inverse_std,
                         const at::Tensor& weight, const at::Tensor& bias) {
  check_rows(x, "x");
  check_channels(mean, "mean", x);
  check_channels(inverse_std, "inverse_std", x);
  check_channels(weight, "weight", x);
  check_channels(bias, "bias", x);
  return weight * inverse_std;
}

template <typename T, typename Op>
Normalised<T, Op> normalised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& scale,
                             const at::Tensor& bias, bool relu) {
  return {x.const_data_ptr<T>(),
          mean.const_data_ptr<Op>(),
          scale.const_data_ptr<Op>(),
          bias.const_data_ptr<Op>(),
          x.size(1),
          relu ? Op(0) : -std::numeric_limits<Op>::infinity()};
}

// (x - mean) * inverse_std * weight + bias, and its ReLU if that is wanted.
at::Tensor normalise(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& inverse_std,
                     const at::Tensor& weight, const at::Tensor& bias, bool relu) {
  const at::Tensor scale = checked_scale(x, mean, inverse_std, weight, bias);
  const at::Tensor y = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "normalise", [&] {
    using Op = at::opmath_type<scalar_t>;
    const auto rows = normalised<scalar_t, Op>(x, mean, scale, bias, relu);
    with_kernels<scalar_t, Op>([&](auto kernels) {
      for_each_block(x.size(0), [&](int64_t, int64_t begin, int64_t end) {
        kernels.normalise(rows, begin, end, y.mutable_data_ptr<scalar_t>());
      });
    });
  });
  return y;
}

// Both must be rows of the same kind.
void check_gradient(const at::Tensor& grad, const at::Tensor& x) {
  check_rows(grad, "grad");
  TORCH_CHECK(grad.sizes() == x.sizes() && grad.scalar_type() == x.scalar_type(),
              "grad must have shape and dtype of x, ", x.sizes(), " and ", x.scalar_type(),
              ", got ", grad.sizes(), " and ", grad.scalar_type());
}

// (2, C) double: sums of the gradient before the ReLU, and of its product with x - mean.
at::Tensor gradient_sums(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& mean,
                         const at::Tensor& inverse_std, const at::Tensor& weight,
                         const at::Tensor& bias, bool relu) {
  const at::Tensor scale = checked_scale(x, mean, inverse_std, weight, bias);
  check_gradient(grad, x);
  // As in `moments`.
  const bool moved = x.scalar_type() == at::kDouble;
  const at::Tensor values = moved ? x - mean : x;
  const at::Tensor centre = moved ? at::zeros(mean.sizes(), mean.options()) : mean;
  at::Tensor sums;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "gradient_sums", [&] {
    using Op = at::opmath_type<scalar_t>;
    const auto rows = normalised<scalar_t, Op>(values, centre, scale, bias, relu);
    with_kernels<scalar_t, Op>([&](auto kernels) {
      sums =
          sum_blocks(x.size(0), x.size(1), [&](int64_t begin, int64_t end, double* s, double* p) {
            kernels.gradient_sums(grad.const_data_ptr<scalar_t>(), rows, begin, end, s, p);
          });
    });
  });
  // Of the product with x - mean: double has the digits for it.
  sums[1] -= sums[0] * centre;
  return sums;
}

// Gradient of x; means (2, C) double are `gradient_sums` of all rows, by their number, or by that
// of `counts`. A row's gradient is that of all that it stands for.
at::Tensor gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& mean,
                    const at::Tensor& inverse_std, const at::Tensor& weight, const at::Tensor& bias,
                    const at::Tensor& means, const std::optional<at::Tensor>& counts, bool relu) {
  const at::Tensor scale = checked_scale(x, mean, inverse_std, weight, bias);
  check_gradient(grad, x);
  check_counts(counts, x);
  const at::Tensor grad_x = at::empty_like(x);
  const at::Tensor offset = means[0].to(mean.scalar_type());
  const at::Tensor slope = (means[1] * inverse_std * inverse_std).to(mean.scalar_type());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "gradient", [&] {
    using Op = at::opmath_type<scalar_t>;
    const auto rows = normalised<scalar_t, Op>(x, mean, scale, bias, relu);
    with_kernels<scalar_t, Op>([&](auto kernels) {
      for_each_block(x.size(0), [&](int64_t, int64_t begin, int64_t end) {
        kernels.gradient(grad.const_data_ptr<scalar_t>(), rows, data_or_null<Op>(counts),
                         offset.const_data_ptr<Op>(), slope.const_data_ptr<Op>(), begin, end,
                         grad_x.mutable_data_ptr<scalar_t>());
      });
    });
  });
  return grad_x;
}

}  // namespace

TORCH_LIBRARY(pcdet_batch_norm, library) {
  library.def("moments(Tensor x, Tensor? counts) -> (Tensor, Tensor)");
  library.def(
      "normalise(Tensor x, Tensor mean, Tensor inverse_std, Tensor weight, Tensor bias, bool relu)"
      " -> Tensor");
  library.def(
      "gradient_sums(Tensor grad, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight, Tensor "
      "bias, bool relu) -> Tensor");
  library.def(
      "gradient(Tensor grad, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight, Tensor "
      "bias, Tensor means, Tensor? counts, bool relu) -> Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_batch_norm, CPU, library) {
  library.impl("moments", moments);
  library.impl("normalise", normalise);
  library.impl("gradient_sums", gradient_sums);
  library.impl("gradient", gradient);
}

}  // namespace pcdet
