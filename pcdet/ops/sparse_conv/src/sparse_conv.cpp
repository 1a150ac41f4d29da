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
#include <limits>
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
  void (*add_products)(const OffsetPairs&, int64_t, int64_t, const T*, const T*, T*, Channels);
  void (*add_outer_products)(const OffsetPairs&, const T*, const T*, T*, Channels);
};

#define PCDET_KERNELS(NAME, ATTRIBUTE, BYTES)                                              \
  template <typename T>                                                                    \
  struct NAME {                                                                            \
    ATTRIBUTE static void products(const OffsetPairs& pairs, int64_t begin, int64_t end,   \
                                   const T* sources, const T* weight, T* targets,          \
                                   Channels channels) {                                    \
      add_products<T, BYTES>(pairs, begin, end, sources, weight, targets, channels);       \
    }                                                                                      \
    ATTRIBUTE static void outer_products(const OffsetPairs& pairs, const T* sources,       \
                                         const T* targets, T* weight, Channels channels) { \
      add_outer_products<T, BYTES>(pairs, sources, targets, weight, channels);             \
    }                                                                                      \
  }

PCDET_KERNELS(AnyProcessor, , 16);
#ifdef __x86_64__
PCDET_KERNELS(Avx2Processor, __attribute__((target("avx2,fma"))), 32);
#endif
#undef PCDET_KERNELS

template <typename T>
Kernels<T> fastest_kernels() {
#ifdef __x86_64__
  // AVX2 (which torch says only of processors with FMA) or AVX512; torch heeds an environment
  // variable, too.
  static const bool has_avx2 = at::get_cpu_capability().rfind("AVX", 0) == 0;
  if (has_avx2) {
    return {Avx2Processor<T>::products, Avx2Processor<T>::outer_products};
  }
#endif
  return {AnyProcessor<T>::products, AnyProcessor<T>::outer_products};
}

// The pairs of each offset: the entries of its row before the first that is negative.
std::vector<OffsetPairs> offsets_of(const at::Tensor& sources, const at::Tensor& targets,
                                    int64_t num_sources, int64_t num_targets) {
  std::vector<OffsetPairs> offsets;
  for (int64_t k = 0; k < sources.size(0); ++k) {
    const int32_t* from = sources.const_data_ptr<int32_t>() + k * sources.size(1);
    const int32_t* to = targets.const_data_ptr<int32_t>() + k * targets.size(1);
    int64_t count = 0;
    for (; count < sources.size(1) && from[count] >= 0; ++count) {
      TORCH_CHECK_INDEX(from[count] < num_sources && to[count] >= 0 && to[count] < num_targets,
                        "pairs of offset ", k, " must be below ", num_sources, " and ", num_targets,
                        ", got ", from[count], " and ", to[count]);
    }
    offsets.push_back({from, to, count});
  }
  return offsets;
}

void check_pairs(const at::Tensor& sources, const at::Tensor& targets) {
  TORCH_CHECK(sources.scalar_type() == at::kInt && targets.scalar_type() == at::kInt,
              "pairs must be int32, got ", sources.scalar_type());
  TORCH_CHECK(sources.dim() == 2 && sources.sizes() == targets.sizes(),
              "pairs must have shape (2, K, P), got two of shapes ", sources.sizes(), " and ",
              targets.sizes());
}

at::Tensor convolve(const at::Tensor& features, const at::Tensor& weight, const at::Tensor& sources,
                    const at::Tensor& targets, int64_t num_targets) {
  check_pairs(sources, targets);
  TORCH_CHECK(weight.dim() == 3 && weight.size(0) == sources.size(0), "weight must have shape (",
              sources.size(0), ", Cin, Cout), one for each offset, got ", weight.sizes());
  check_floats(features, "features", 2, weight.size(1));
  check_alike(features, "features", weight, "weight");
  const at::Tensor result = at::zeros({num_targets, weight.size(2)}, features.options());
  const at::Tensor rows = features.contiguous(), weights = weight.contiguous();
  const at::Tensor from = sources.contiguous(), to = targets.contiguous();
  const auto offsets = offsets_of(from, to, features.size(0), num_targets);
  const Channels channels{weight.size(1), weight.size(2)};
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "sparse_conv", [&] {
    const auto kernels = fastest_kernels<scalar_t>();
    const scalar_t* read = rows.const_data_ptr<scalar_t>();
    scalar_t* written = result.mutable_data_ptr<scalar_t>();
    for (size_t k = 0; k < offsets.size(); ++k) {
      const scalar_t* own =
          weights.const_data_ptr<scalar_t>() + k * size_t(channels.in * channels.out);
      // Within an offset no target comes twice, so the threads never meet.
      at::parallel_for(0, offsets[k].count, 512, [&](int64_t begin, int64_t end) {
        kernels.add_products(offsets[k], begin, end, read, own, written, channels);
      });
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
  const auto offsets = offsets_of(from, to, features.size(0), grad.size(0));
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "sparse_conv_weight_grad", [&] {
    const auto kernels = fastest_kernels<scalar_t>();
    at::parallel_for(0, int64_t(offsets.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        kernels.add_outer_products(
            offsets[k], rows.const_data_ptr<scalar_t>(), grads.const_data_ptr<scalar_t>(),
            result.mutable_data_ptr<scalar_t>() + k * channels.in * channels.out, channels);
      }
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

  PairTensors(const Axes& kernel, int64_t voxels, const at::TensorOptions& options)
      : pairs(at::empty({2, kernel[0] * kernel[1] * kernel[2], voxels}, options)),
        counts(at::zeros({pairs.size(1)}, options)) {}

  PairLists view() const {
    int32_t* const sources = pairs.mutable_data_ptr<int32_t>();
    return {sources, sources + pairs.numel() / 2, counts.mutable_data_ptr<int32_t>(),
            pairs.size(2)};
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
  const PairTensors pairs(kernel, rows.size(0), rows.options());
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
  const Axes kernel = axes_of(kernel_size, "kernel_size", 1);
  const VoxelGrid out{axes_of(out_shape, "out_shape", 1)};
  const at::Tensor rows = sites.contiguous();
  check_sites(rows, VoxelGrid{axes_of(shape, "spatial_shape", 1)});
  const PairTensors pairs(kernel, rows.size(0), rows.options());
  std::vector<int32_t> out_sites;
  pair_with_outputs(rows.const_data_ptr<int32_t>(), rows.size(0), out, kernel,
                    axes_of(stride, "stride", 1), axes_of(padding, "padding", 0),
                    axes_of(dilation, "dilation", 1), pairs.view(), out_sites);
  pairs.close();
  const at::Tensor found =
      at::empty({int64_t(out_sites.size()) / kSiteColumns, kSiteColumns}, rows.options());
  std::copy(out_sites.begin(), out_sites.end(), found.mutable_data_ptr<int32_t>());
  return {found, pairs.pairs, pairs.counts};
}

}  // namespace

TORCH_LIBRARY(pcdet_sparse_conv, library) {
  library.def(
      "convolve(Tensor features, Tensor weight, Tensor sources, Tensor targets, int num_targets) "
      "-> Tensor");
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
