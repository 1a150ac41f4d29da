// The sparse convolution operators: checks, memory, threads and the choice of instructions.
#include "sparse_conv.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "../../common/tensor_checks.h"
#include "bfloat16_blocks.h"

namespace pcdet {
namespace {

// What products of numbers of type T are added in.
template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

// The loops, compiled for one family of processors.
template <typename T>
struct Kernels {
  void (*add_products)(const OffsetPairs&, const T*, const T*, Sum<T>*, Channels);
  void (*add_outer_products)(const OffsetPairs&, const T*, const T*, Sum<T>*, Channels, int64_t,
                             int64_t);
  void (*finish_sums)(const Sum<T>*, int64_t, bool, T*);
};

#define PCDET_KERNELS(NAME, ATTRIBUTE, BYTES)                                                   \
  template <typename T>                                                                         \
  struct NAME {                                                                                 \
    ATTRIBUTE static void products(const OffsetPairs& pairs, const T* sources, const T* weight, \
                                   Sum<T>* targets, Channels channels) {                        \
      add_products<T, BYTES>(pairs, sources, weight, targets, channels);                        \
    }                                                                                           \
    ATTRIBUTE static void outer_products(const OffsetPairs& pairs, const T* sources,            \
                                         const T* targets, Sum<T>* weight, Channels channels,   \
                                         int64_t begin, int64_t end) {                          \
      add_outer_products<T, BYTES>(pairs, sources, targets, weight, channels, begin, end);      \
    }                                                                                           \
    ATTRIBUTE static void finish(const Sum<T>* sums, int64_t count, bool relu, T* result) {     \
      finish_sums(sums, count, relu, result);                                                   \
    }                                                                                           \
    static constexpr Kernels<T> kAll{products, outer_products, finish};                         \
  }

PCDET_KERNELS(AnyProcessor, , 16);
#ifdef __x86_64__
PCDET_KERNELS(Avx2Processor, __attribute__((target("avx2,fma"))), 32);
PCDET_KERNELS(Avx512Processor, __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma"))),
              64);
#endif
#undef PCDET_KERNELS

struct Range {
  int64_t begin, end;
};

template <typename T>
Kernels<T> fastest_kernels() {
#ifdef __x86_64__
  // What torch says: AVX2 only of processors with FMA, AVX512 only of those with all four parts of
  // it; and it heeds an environment variable.
  static const std::string capability = at::get_cpu_capability();
  if (capability.rfind("AVX512", 0) == 0) return Avx512Processor<T>::kAll;
  if (capability.rfind("AVX", 0) == 0) return Avx2Processor<T>::kAll;
#endif
  return AnyProcessor<T>::kAll;
}

// The pairs of each offset: the entries of its row before the first that is negative.
struct PairsByOffset {
  std::vector<OffsetPairs> offsets;
  bool ascending = true;  // the targets of each

  PairsByOffset(const at::Tensor& sources, const at::Tensor& targets, int64_t num_sources,
                int64_t num_targets) {
    for (int64_t k = 0; k < sources.size(0); ++k) {
      const int32_t* from = sources.const_data_ptr<int32_t>() + k * sources.size(1);
      const int32_t* to = targets.const_data_ptr<int32_t>() + k * targets.size(1);
      const int32_t* const end =
          std::partition_point(from, from + sources.size(1), [](int32_t row) { return row >= 0; });
      const int64_t count = end - from;
      // Without a branch, so that several are looked at in one step: this walks through all pairs.
      uint32_t last_source = 0, last_target = 0;
      bool steps_up = true;
      for (int64_t i = 0; i < count; ++i) {
        last_source = std::max(last_source, uint32_t(from[i]));
        last_target = std::max(last_target, uint32_t(to[i]));
      }
      for (int64_t i = 1; i < count; ++i) steps_up &= to[i - 1] < to[i];
      TORCH_CHECK_INDEX(count == 0 || (last_source < num_sources && last_target < num_targets),
                        "pairs of offset ", k, " must be below ", num_sources, " and ", num_targets,
                        ", got ", int32_t(last_source), " and ", int32_t(last_target));
      ascending = ascending && steps_up;
      offsets.push_back({from, to, count});
    }
  }
};

// The pairs of each tile of `rows` targets, of each offset, whose targets ascend: [tile][offset].
std::vector<OffsetPairs> pairs_of_tiles(const std::vector<OffsetPairs>& offsets, int64_t num_tiles,
                                        int64_t rows) {
  std::vector<OffsetPairs> tiles(num_tiles * offsets.size());
  for (size_t k = 0; k < offsets.size(); ++k) {
    OffsetPairs left = offsets[k];
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
      // As no target comes twice, a tile has at most as many pairs as rows.
      const int32_t* const end = left.targets + std::min(left.count, rows);
      const int64_t count = std::lower_bound(left.targets, end, (tile + 1) * rows) - left.targets;
      tiles[tile * offsets.size() + k] = {left.sources, left.targets, count};
      left = {left.sources + count, left.targets + count, left.count - count};
    }
  }
  return tiles;
}

// Calls task(n) for each n below `count`; a thread that is free takes the next.
template <typename Task>
void for_each_task(int64_t count, const Task& task) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    const MatrixUnits units;
    for (int64_t n = next++; n < count; n = next++) task(n);
  });
}

void check_pairs(const at::Tensor& sources, const at::Tensor& targets) {
  TORCH_CHECK(sources.scalar_type() == at::kInt && targets.scalar_type() == at::kInt,
              "pairs must be int32, got ", sources.scalar_type());
  TORCH_CHECK(sources.dim() == 2 && sources.sizes() == targets.sizes(),
              "pairs must have shape (2, K, P), got two of shapes ", sources.sizes(), " and ",
              targets.sizes());
}

// A convolution of rows of numbers of type T.
template <typename T>
struct Convolution {
  const T *features, *weight;
  const T* bias;  // nullptr for none
  bool relu;
  T* result;
  Channels channels;
  Kernels<T> kernels = fastest_kernels<T>();
  Sum<T>* sums = nullptr;  // as large as the result, of which the rows that are made are there

  // Begins with these rows; they are added up in the result itself if that can be, else in `held`.
  void start(Range rows, std::vector<float>& held) {
    if constexpr (std::is_same_v<T, Sum<T>>) {
      sums = result;
    } else {
      held.resize(std::max<size_t>(held.size(), (rows.end - rows.begin) * channels.out));
      sums = held.data() - rows.begin * channels.out;
    }
    Sum<T>* const end = sums + rows.end * channels.out;
    for (Sum<T>* row = sums + rows.begin * channels.out; bias && row < end; row += channels.out) {
      std::copy_n(bias, channels.out, row);
    }
    if (!bias) std::fill(sums + rows.begin * channels.out, end, Sum<T>(0));
  }
  void add(const OffsetPairs& pairs, size_t offset) const {
    const T* const matrix = weight + offset * size_t(channels.in * channels.out);
    kernels.add_products(pairs, features, matrix, sums, channels);
  }
  void finish(Range rows) const {
    const int64_t begin = rows.begin * channels.out, end = rows.end * channels.out;
    kernels.finish_sums(sums + begin, end - begin, relu, result + begin);
  }
};

// So many rows of outputs are made at a time, from the first offset to the last: they and the rows
// that they are made of then stay in the second cache, and each thread has a few tiles. Blocks of
// bfloat16 are fuller with more.
template <typename T>
int64_t tile_rows(int64_t num_targets, int64_t channels) {
  if (std::is_same_v<T, BFloat16>) return 512;
  constexpr int64_t kCache = 131072, kFewest = 256;
  const int64_t fit = kCache / (std::max<int64_t>(channels, 1) * sizeof(T));
  return std::max(kFewest, std::min(fit, num_targets / (4 * at::get_num_threads())));
}

template <typename T>
void convolve_tiles(const Convolution<T>& convolution, const std::vector<OffsetPairs>& offsets,
                    int64_t num_targets) {
  const int64_t size = tile_rows<T>(num_targets, convolution.channels.out);
  const int64_t num_tiles = (num_targets + size - 1) / size;
  const std::vector<OffsetPairs> pairs = pairs_of_tiles(offsets, num_tiles, size);
  for_each_task(num_tiles, [&](int64_t tile) {
    const Range rows{tile * size, std::min((tile + 1) * size, num_targets)};
    Convolution<T> part = convolution;
    part.start(rows, Blocks::of_this_thread().tile);
    for (size_t k = 0; k < offsets.size(); ++k) part.add(pairs[tile * offsets.size() + k], k);
    part.finish(rows);
  });
}

// With the same results, for targets in any order.
template <typename T>
void convolve_offsets(Convolution<T> convolution, const std::vector<OffsetPairs>& offsets,
                      int64_t num_targets) {
  std::vector<float> held;
  convolution.start({0, num_targets}, held);
  for (size_t k = 0; k < offsets.size(); ++k) {
    const OffsetPairs& pairs = offsets[k];
    // Within an offset no target comes twice, so the threads never meet.
    at::parallel_for(0, pairs.count, 512, [&](int64_t begin, int64_t end) {
      const MatrixUnits units;
      convolution.add({pairs.sources + begin, pairs.targets + begin, end - begin}, k);
    });
  }
  convolution.finish({0, num_targets});
}

// The matrices (Cin, Cout) of a weight as its products read them.
template <typename T>
at::Tensor prepared(const at::Tensor& weight) {
  const at::Tensor whole = weight.contiguous();
  if constexpr (std::is_same_v<T, BFloat16>) {
    const Channels channels{weight.size(1), weight.size(2)};
    const at::Tensor factors = at::empty_like(whole);
    for (int64_t k = 0; k < weight.size(0); ++k) {
      put_weight(whole.const_data_ptr<T>() + k * channels.in * channels.out, channels,
                 has_matrix_units(),
                 factors.mutable_data_ptr<T>() + k * channels.in * channels.out);
    }
    return factors;
  }
  return whole;
}

// Floating-point numbers, or bfloat16 of as many channels as its blocks want.
void check_numbers(const at::Tensor& tensor, const char* name, int64_t dims, int64_t columns) {
  if (tensor.scalar_type() != at::kBFloat16) return check_floats(tensor, name, dims, columns);
  check_shape(tensor, name, dims, columns);
  TORCH_CHECK(columns % kChannelStep == 0, name, " of bfloat16 must have a multiple of ",
              kChannelStep, " channels, got ", columns);
}

at::Tensor convolve(const at::Tensor& features, const at::Tensor& weight, const at::Tensor& sources,
                    const at::Tensor& targets, int64_t num_targets,
                    const std::optional<at::Tensor>& bias, bool relu) {
  check_pairs(sources, targets);
  TORCH_CHECK(weight.dim() == 3 && weight.size(0) == sources.size(0), "weight must have shape (",
              sources.size(0), ", Cin, Cout), one for each offset, got ", weight.sizes());
  check_numbers(features, "features", 2, weight.size(1));
  check_numbers(weight, "weight", 3, weight.size(2));
  check_alike(features, "features", weight, "weight");
  if (bias) {
    check_numbers(*bias, "bias", 1, weight.size(2));
    check_alike(features, "features", *bias, "bias");
  }
  const at::Tensor result = at::empty({num_targets, weight.size(2)}, features.options());
  const at::Tensor rows = features.contiguous();
  const at::Tensor from = sources.contiguous(), to = targets.contiguous();
  const at::Tensor added = bias ? bias->contiguous() : at::Tensor();
  const PairsByOffset pairs(from, to, features.size(0), num_targets);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, features.scalar_type(), "sparse_conv", [&] {
    const at::Tensor weights = prepared<scalar_t>(weight);
    const Convolution<scalar_t> convolution{rows.const_data_ptr<scalar_t>(),
                                            weights.const_data_ptr<scalar_t>(),
                                            bias ? added.const_data_ptr<scalar_t>() : nullptr,
                                            relu,
                                            result.mutable_data_ptr<scalar_t>(),
                                            {weight.size(1), weight.size(2)}};
    if (pairs.ascending) {
      convolve_tiles(convolution, pairs.offsets, num_targets);
    } else {
      convolve_offsets(convolution, pairs.offsets, num_targets);
    }
  });
  return result;
}

at::Tensor convolve_weight_grad(const at::Tensor& features, const at::Tensor& grad,
                                const at::Tensor& sources, const at::Tensor& targets) {
  check_pairs(sources, targets);
  check_numbers(features, "features", 2, features.size(-1));
  check_numbers(grad, "grad", 2, grad.size(-1));
  check_alike(features, "features", grad, "grad");
  const Channels channels{features.size(1), grad.size(1)};
  const at::Tensor result =
      at::zeros({sources.size(0), channels.in, channels.out},
                features.options().dtype(at::toOpMathType(features.scalar_type())));
  const at::Tensor rows = features.contiguous(), grads = grad.contiguous();
  const at::Tensor from = sources.contiguous(), to = targets.contiguous();
  const PairsByOffset pairs(from, to, features.size(0), grad.size(0));
  // The offsets with most pairs first, so that no thread begins one when the others are done. A
  // kernel of few has too few for that, so that each is done in two halves.
  std::vector<int64_t> order(pairs.offsets.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return pairs.offsets[a].count > pairs.offsets[b].count;
  });
  const int64_t parts = order.size() < 9 ? 2 : 1;
  const auto dtype = features.scalar_type();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, dtype, "sparse_conv_weight_grad", [&] {
    const auto kernels = fastest_kernels<scalar_t>();
    for_each_task(parts * int64_t(order.size()), [&](int64_t task) {
      const int64_t k = order[task / parts], part = task % parts;
      kernels.add_outer_products(
          pairs.offsets[k], rows.const_data_ptr<scalar_t>(), grads.const_data_ptr<scalar_t>(),
          result.mutable_data_ptr<Sum<scalar_t>>() + k * channels.in * channels.out, channels,
          channels.in * part / parts, channels.in * (part + 1) / parts);
    });
  });
  return result.to(dtype);
}

}  // namespace

TORCH_LIBRARY(pcdet_sparse_conv, library) {
  library.def(
      "convolve(Tensor features, Tensor weight, Tensor sources, Tensor targets, int num_targets, "
      "Tensor? bias=None, bool relu=False) -> Tensor");
  library.def(
      "convolve_weight_grad(Tensor features, Tensor grad, Tensor sources, Tensor targets) -> "
      "Tensor");
  library.def("has_matrix_units() -> bool", has_matrix_units);
  library.def(
      "submanifold_pairs(Tensor indices, int[] spatial_shape, int[] kernel_size, int[] dilation) "
      "-> (Tensor pairs, Tensor counts)");
  library.def(
      "strided_pairs(Tensor indices, int[] spatial_shape, int[] out_shape, int[] kernel_size, "
      "int[] stride, int[] padding, int[] dilation) -> "
      "(Tensor out_indices, Tensor pairs, Tensor counts)");
}

TORCH_LIBRARY_IMPL(pcdet_sparse_conv, CPU, library) {
  library.impl("convolve", convolve);
  library.impl("convolve_weight_grad", convolve_weight_grad);
}

}  // namespace pcdet
