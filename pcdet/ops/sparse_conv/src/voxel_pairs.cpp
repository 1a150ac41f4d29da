// The operators that find the pairs of voxels: checks and memory.
#include "voxel_pairs.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

namespace pcdet {
namespace {

constexpr int64_t kMostPlaces = std::numeric_limits<int32_t>::max();

// Three numbers, each at least `least`.
Axes axes_of(at::IntArrayRef numbers, const char* name, int64_t least) {
  TORCH_CHECK(numbers.size() == kAxes && std::all_of(numbers.begin(), numbers.end(),
                                                     [&](int64_t n) { return n >= least; }),
              name, " must be 3 numbers (z, y, x) of at least ", least, ", got ", numbers);
  return {numbers[0], numbers[1], numbers[2]};
}

// The product of sizes; as a double, as it may be more than an int64 holds.
double product_of(const Axes& sizes) {
  return double(sizes[0]) * double(sizes[1]) * double(sizes[2]);
}

Axes kernel_of(at::IntArrayRef kernel_size) {
  const Axes kernel = axes_of(kernel_size, "kernel_size", 1);
  TORCH_CHECK(product_of(kernel) <= kMostPlaces, "kernel_size must be below 2^31 offsets, got ",
              kernel_size);
  return kernel;
}

// So many grids must not have more cells than can be numbered, even when padded to twice the sides.
void check_cells(int64_t grids, const VoxelGrid& grid, const char* name) {
  TORCH_CHECK(*std::max_element(grid.shape.begin(), grid.shape.end()) <= kMostPlaces &&
                  double(grids) * product_of(grid.shape) <= double(int64_t(1) << 60),
              name, " must have sides below 2^31 and at most 2^60 cells in all, got ", grids,
              " grids of ", at::IntArrayRef(grid.shape));
}

// Returns how many grids there are at least: the largest batch index and 1.
int64_t check_sites(const at::Tensor& sites, const VoxelGrid& grid) {
  TORCH_CHECK(sites.scalar_type() == at::kInt && sites.dim() == 2 && sites.size(1) == kSiteColumns,
              "indices must be int32 of shape (V, 4), got ", sites.scalar_type(), " of shape ",
              sites.sizes());
  TORCH_CHECK(sites.size(0) <= kMostPlaces, "indices must be below 2^31 voxels, got ",
              sites.size(0));
  int64_t grids = 0;
  for (int64_t i = 0; i < sites.size(0); ++i) {
    const int32_t* site = sites.const_data_ptr<int32_t>() + i * kSiteColumns;
    TORCH_CHECK_INDEX(site[0] >= 0 && grid.holds(site[1], site[2], site[3]),
                      "indices must lie in the grid ", at::IntArrayRef(grid.shape), ", row ", i,
                      " is (", site[0], ", ", site[1], ", ", site[2], ", ", site[3], ")");
    grids = std::max(grids, int64_t(site[0]) + 1);
  }
  check_cells(grids, grid, "spatial_shape");
  return grids;
}

// `paired` is what the search returned: the number of sites, or one that is there a second time.
void check_once(int64_t paired, const at::Tensor& sites) {
  TORCH_CHECK_VALUE(paired == sites.size(0), "indices must not hold a voxel twice, row ", paired,
                    " is another's");
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
  const Axes kernel = kernel_of(kernel_size);
  for (const int64_t size : kernel) {
    TORCH_CHECK(size % 2 == 1, "kernel_size of a submanifold convolution must be odd, got ",
                kernel_size);
  }
  const at::Tensor rows = sites.contiguous();
  check_sites(rows, grid);
  const auto pairs = PairTensors::with_room(kernel, rows.size(0), rows.options());
  const int64_t paired = pair_neighbours(rows.const_data_ptr<int32_t>(), rows.size(0), grid, kernel,
                                         axes_of(dilation, "dilation", 1), pairs.view());
  check_once(paired, rows);
  pairs.close();
  return {pairs.pairs, pairs.counts};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> strided_pairs(
    const at::Tensor& sites, at::IntArrayRef shape, at::IntArrayRef out_shape,
    at::IntArrayRef kernel_size, at::IntArrayRef stride, at::IntArrayRef padding,
    at::IntArrayRef dilation) {
  const StridedLayer layer{{axes_of(shape, "spatial_shape", 1)},
                           {axes_of(out_shape, "out_shape", 1)},
                           kernel_of(kernel_size),
                           axes_of(stride, "stride", 1),
                           axes_of(padding, "padding", 0),
                           axes_of(dilation, "dilation", 1)};
  const at::Tensor rows = sites.contiguous();
  check_cells(check_sites(rows, layer.in), layer.out, "out_shape");
  const auto found = PairTensors::with_room(layer.kernel, rows.size(0), rows.options());
  std::vector<Site> out_sites;
  check_once(pair_with_outputs(rows.const_data_ptr<int32_t>(), rows.size(0), layer, found.view(),
                               out_sites),
             rows);
  const PairTensors pairs = found.shortened();
  pairs.close();
  const at::Tensor outputs = at::empty({int64_t(out_sites.size()), kSiteColumns}, rows.options());
  int32_t* column = outputs.mutable_data_ptr<int32_t>();
  for (const Site& site : out_sites) column = std::copy(site.begin(), site.end(), column);
  return {outputs, pairs.pairs, pairs.counts};
}

}  // namespace

TORCH_LIBRARY_IMPL(pcdet_sparse_conv, CPU, library) {
  library.impl("submanifold_pairs", submanifold_pairs);
  library.impl("strided_pairs", strided_pairs);
}

}  // namespace pcdet
