// The sparse convolution operators: checks, memory, threads and the choice of instructions.
#include "sparse_conv.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../../common/tensor_checks.h"
#include "voxel_pairs.h"

namespace pcdet {
namespace {

// The two loops, compiled for one family of processors.
template <typename T>
struct Kernels {
  void (*add_products)(const OffsetPairs&, const T*, const T*, T*, Channels);
  void (*add_outer_products)(const OffsetPairs&, const T*, const T*, T*, Channels, int64_t,
                             int64_t);
};

#define PCDET_KERNELS(NAME, ATTRIBUTE, BYTES)                                                   \
  template <typename T>                                                                         \
  struct NAME {                                                                                 \
    ATTRIBUTE static void products(const OffsetPairs& pairs, const T* sources, const T* weight, \
                                   T* targets, Channels channels) {                             \
      add_products<T, BYTES>(pairs, sources, weight, targets, channels);                        \
    }                                                                                           \
    ATTRIBUTE static void outer_products(const OffsetPairs& pairs, const T* sources,            \
                                         const T* targets, T* weight, Channels channels,        \
                                         int64_t begin, int64_t end) {                          \
      add_outer_products<T, BYTES>(pairs, sources, targets, weight, channels, begin, end);      \
    }                                                                                           \
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
  if (capability.rfind("AVX512", 0) == 0) {
    return {Avx512Processor<T>::products, Avx512Processor<T>::outer_products};
  }
  if (capability.rfind("AVX", 0) == 0) {
    return {Avx2Processor<T>::products, Avx2Processor<T>::outer_products};
  }
#endif
  return {AnyProcessor<T>::products, AnyProcessor<T>::outer_products};
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

// The pairs with targets from `begin` to `end`, of an offset whose targets ascend.
OffsetPairs pairs_within(const OffsetPairs& pairs, Range range) {
  const int32_t *begin = pairs.targets, *end = begin + pairs.count;
  const int64_t first = std::lower_bound(begin, end, range.begin) - begin;
  const int64_t last = std::lower_bound(begin + first, end, range.end) - begin;
  return {pairs.sources + first, pairs.targets + first, last - first};
}

// Calls task(n) for each n below `count`; a thread that is free takes the next.
template <typename Task>
void for_each_task(int64_t count, const Task& task) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
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

  const T* weight_of(size_t offset) const {
    return weight + offset * size_t(channels.in * channels.out);
  }
  void start(Range rows) const {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      T* const numbers = result + row * channels.out;
      if (bias == nullptr) {
        std::fill_n(numbers, channels.out, T(0));
      } else {
        std::copy_n(bias, channels.out, numbers);
      }
    }
  }
  void add(const OffsetPairs& pairs, size_t offset) const {
    kernels.add_products(pairs, features, weight_of(offset), result, channels);
  }
  void finish(Range rows) const {
    if (!relu) return;
    T* const last = result + rows.end * channels.out;
    // What is not a number stays so.
    for (T* x = result + rows.begin * channels.out; x < last; ++x) *x = *x < T(0) ? T(0) : *x;
  }
};

// So many rows of outputs are made at a time, from the first offset to the last: they and the rows
// that they are made of then stay in the second cache.
constexpr int64_t kTileRows = 256;

template <typename T>
void convolve_tiles(const Convolution<T>& convolution, const std::vector<OffsetPairs>& offsets,
                    int64_t num_targets) {
  for_each_task((num_targets + kTileRows - 1) / kTileRows, [&](int64_t tile) {
    const Range rows{tile * kTileRows, std::min((tile + 1) * kTileRows, num_targets)};
    convolution.start(rows);
    for (size_t k = 0; k < offsets.size(); ++k) convolution.add(pairs_within(offsets[k], rows), k);
    convolution.finish(rows);
  });
}

// With the same results, for targets in any order.
template <typename T>
void convolve_offsets(const Convolution<T>& convolution, const std::vector<OffsetPairs>& offsets,
                      int64_t num_targets) {
  convolution.start({0, num_targets});
  for (size_t k = 0; k < offsets.size(); ++k) {
    const OffsetPairs& pairs = offsets[k];
    // Within an offset no target comes twice, so the threads never meet.
    at::parallel_for(0, pairs.count, 512, [&](int64_t begin, int64_t end) {
      convolution.add({pairs.sources + begin, pairs.targets + begin, end - begin}, k);
    });
  }
  convolution.finish({0, num_targets});
}

at::Tensor convolve(const at::Tensor& features, const at::Tensor& weight, const at::Tensor& sources,
                    const at::Tensor& targets, int64_t num_targets,
                    const std::optional<at::Tensor>& bias, bool relu) {
  check_pairs(sources, targets);
  TORCH_CHECK(weight.dim() == 3 && weight.size(0) == sources.size(0), "weight must have shape (",
              sources.size(0), ", Cin, Cout), one for each offset, got ", weight.sizes());
  check_floats(features, "features", 2, weight.size(1));
  check_alike(features, "features", weight, "weight");
  if (bias) {
    check_floats(*bias, "bias", 1, weight.size(2));
    check_alike(features, "features", *bias, "bias");
  }
  const at::Tensor result = at::empty({num_targets, weight.size(2)}, features.options());
  const at::Tensor rows = features.contiguous(), weights = weight.contiguous();
  const at::Tensor from = sources.contiguous(), to = targets.contiguous();
  const at::Tensor added = bias ? bias->contiguous() : at::Tensor();
  const PairsByOffset pairs(from, to, features.size(0), num_targets);
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "sparse_conv", [&] {
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
  check_floats(features, "features", 2, features.size(-1));
  check_floats(grad, "grad", 2, grad.size(-1));
  check_alike(features, "features", grad, "grad");
  const Channels channels{features.size(1), grad.size(1)};
  const at::Tensor result =
      at::zeros({sources.size(0), channels.in, channels.out}, features.options());
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
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "sparse_conv_weight_grad", [&] {
    const auto kernels = fastest_kernels<scalar_t>();
    for_each_task(parts * int64_t(order.size()), [&](int64_t task) {
      const int64_t k = order[task / parts], part = task % parts;
      kernels.add_outer_products(
          pairs.offsets[k], rows.const_data_ptr<scalar_t>(), grads.const_data_ptr<scalar_t>(),
          result.mutable_data_ptr<scalar_t>() + k * channels.in * channels.out, channels,
          channels.in * part / parts, channels.in * (part + 1) / parts);
    });
  });
  return result;
}

// Three numbers, each at least `least`.
Axes axes_of(at::IntArrayRef numbers, const char* name, int64_t least) {
  TORCH_CHECK(numbers.size() == kAxes && std::all_of(numbers.begin(), numbers.end(),
                                                     [&](int64_t n) { return n >= least; }),
              name, " must be 3 numbers (z, y, x) of at least ", least, ", got ", numbers);
  return {numbers[0], numbers[1], numbers[2]};
}

void check_sites(const at::Tensor& sites, const VoxelGrid& grid) {
  TORCH_CHECK(sites.scalar_type() == at::kInt && sites.dim() == 2 && sites.size(1) == kSiteColumns,
              "indices must be int32 of shape (V, 4), got ", sites.scalar_type(), " of shape ",
              sites.sizes());
  TORCH_CHECK(sites.size(0) <= std::numeric_limits<int32_t>::max(),
              "indices must be below 2^31 voxels, got ", sites.size(0));
  for (int64_t i = 0; i < sites.size(0); ++i) {
    const int32_t* site = sites.const_data_ptr<int32_t>() + i * kSiteColumns;
    TORCH_CHECK_INDEX(site[0] >= 0 && grid.holds(site[1], site[2], site[3]),
                      "indices must lie in the grid ", at::IntArrayRef(grid.shape), ", row ", i,
                      " is (", site[0], ", ", site[1], ", ", site[2], ", ", site[3], ")");
  }
}

// Lists for the pairs of `voxels` inputs.
struct PairTensors {
  at::Tensor pairs;   // (2, K, V) sources and targets
  at::Tensor counts;  // (K,)

  static PairTensors with_room(const Axes& kernel, int64_t voxels,
                               const at::TensorOptions& options) {
    const int64_t offsets = kernel[0] * kernel[1] * kernel[2];
    return {at::empty({2, offsets, voxels}, options), at::zeros({offsets}, options)};
  }

  PairLists view() const {
    int32_t* const sources = pairs.mutable_data_ptr<int32_t>();
    return {sources, sources + pairs.numel() / 2, counts.mutable_data_ptr<int32_t>(),
            pairs.size(2)};
  }
  // The same lists, no longer than the longest of them needs.
  PairTensors shortened() const {
    const PairLists lists = view();
    const int64_t offsets = pairs.size(1);
    const int64_t longest = *std::max_element(lists.counts, lists.counts + offsets);
    const PairTensors result{at::empty({2, offsets, longest}, pairs.options()), counts};
    const PairLists shorter = result.view();
    for (int64_t k = 0; k < offsets; ++k) {
      std::copy_n(lists.sources + k * lists.row, lists.counts[k], shorter.sources + k * longest);
      std::copy_n(lists.targets + k * lists.row, lists.counts[k], shorter.targets + k * longest);
    }
    return result;
  }
  // Writes -1 behind the last pair of each list.
  void close() const {
    const PairLists lists = view();
    for (int64_t k = 0; k < pairs.size(1); ++k) {
      for (int32_t* list : {lists.sources, lists.targets}) {
        std::fill(list + k * lists.row + lists.counts[k], list + (k + 1) * lists.row, -1);
      }
    }
  }
};

std::tuple<at::Tensor, at::Tensor> submanifold_pairs(const at::Tensor& sites, at::IntArrayRef shape,
                                                     at::IntArrayRef kernel_size,
                                                     at::IntArrayRef dilation) {
  const VoxelGrid grid{axes_of(shape, "spatial_shape", 1)};
  const Axes kernel = axes_of(kernel_size, "kernel_size", 1);
  for (const int64_t size : kernel) {
    TORCH_CHECK(size % 2 == 1, "kernel_size of a submanifold convolution must be odd, got ",
                kernel_size);
  }
  const at::Tensor rows = sites.contiguous();
  check_sites(rows, grid);
  const auto pairs = PairTensors::with_room(kernel, rows.size(0), rows.options());
  const int64_t paired = pair_neighbours(rows.const_data_ptr<int32_t>(), rows.size(0), grid, kernel,
                                         axes_of(dilation, "dilation", 1), pairs.view());
  TORCH_CHECK_VALUE(paired == rows.size(0), "indices must not hold a voxel twice, row ", paired,
                    " is another's");
  pairs.close();
  return {pairs.pairs, pairs.counts};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> strided_pairs(
    const at::Tensor& sites, at::IntArrayRef shape, at::IntArrayRef out_shape,
    at::IntArrayRef kernel_size, at::IntArrayRef stride, at::IntArrayRef padding,
    at::IntArrayRef dilation) {
  const StridedLayer layer{
      {axes_of(shape, "spatial_shape", 1)},   {axes_of(out_shape, "out_shape", 1)},
      axes_of(kernel_size, "kernel_size", 1), axes_of(stride, "stride", 1),
      axes_of(padding, "padding", 0),         axes_of(dilation, "dilation", 1)};
  const at::Tensor rows = sites.contiguous();
  check_sites(rows, layer.in);
  const auto found = PairTensors::with_room(layer.kernel, rows.size(0), rows.options());
  std::vector<Site> out_sites;
  pair_with_outputs(rows.const_data_ptr<int32_t>(), rows.size(0), layer, found.view(), out_sites);
  const PairTensors pairs = found.shortened();
  pairs.close();
  const at::Tensor outputs = at::empty({int64_t(out_sites.size()), kSiteColumns}, rows.options());
  int32_t* column = outputs.mutable_data_ptr<int32_t>();
  for (const Site& site : out_sites) column = std::copy(site.begin(), site.end(), column);
  return {outputs, pairs.pairs, pairs.counts};
}

}  // namespace

TORCH_LIBRARY(pcdet_sparse_conv, library) {
  library.def(
      "convolve(Tensor features, Tensor weight, Tensor sources, Tensor targets, int num_targets, "
      "Tensor? bias=None, bool relu=False) -> Tensor");
  library.def(
      "convolve_weight_grad(Tensor features, Tensor grad, Tensor sources, Tensor targets) -> "
      "Tensor");
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
  library.impl("submanifold_pairs", submanifold_pairs);
  library.impl("strided_pairs", strided_pairs);
}

}  // namespace pcdet
