// Three nearest sites and interpolation: checks, memory and the choice of the device.
#include "three_nn.h"

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>
#include <type_traits>

#include "../../common/cuda_architectures.h"
#include "../../common/for_each_cpu.h"
#include "../../common/tensor_checks.h"
#include "three_interpolate.h"

#ifdef WITH_CUDA
#include "../../common/for_each_cuda.h"
#endif

namespace pcdet {
namespace {

// Cells for each site. Twice or half as many cost about the same on KITTI's frames.
constexpr double kCellsPerSite = 4;
constexpr int64_t kMostCellsAlong = 2048;
constexpr int64_t kMostFrames = std::numeric_limits<int32_t>::max();

int64_t cells_along(int64_t sites, int64_t frames) {
  const double each = kCellsPerSite * double(sites) / double(std::max<int64_t>(1, frames));
  return std::clamp<int64_t>(int64_t(std::sqrt(each)), 1, kMostCellsAlong);
}

at::Tensor checked_frames(const at::Tensor& frames, const char* name, const at::Tensor& rows,
                          const char* rows_name) {
  TORCH_CHECK(frames.dim() == 1 && frames.size(0) == rows.size(0), name, " must have shape [",
              rows.size(0), "], a frame for each of ", rows_name, ", got shape ", frames.sizes());
  TORCH_CHECK(c10::isIntegralType(frames.scalar_type(), /*includeBool=*/false), name,
              " must be integers, got ", frames.scalar_type());
  TORCH_CHECK(frames.device() == rows.device(), name, " must be on the device of ", rows_name, ", ",
              rows.device(), ", got ", frames.device());
  // What an int32 does not hold would come out as another frame.
  const bool wide = frames.scalar_type() == at::kLong;
  return (wide ? frames.clamp(-1, kMostFrames) : frames).to(at::kInt).contiguous();
}

// Where each run of equal keys begins: (last + 1,) int64.
template <typename Device>
at::Tensor starts_of(const at::Tensor& sorted_keys, int64_t last) {
  const at::Tensor starts = at::empty({last + 1}, sorted_keys.options());
  const int64_t count = sorted_keys.size(0);
  Device::for_each(count + 1, StartsOfKeys{sorted_keys.const_data_ptr<int64_t>(), count, last,
                                           starts.mutable_data_ptr<int64_t>()});
  return starts;
}

// (2, 2) float64: the lowest x and y of the finite sites, and the sides of a cell.
at::Tensor cell_geometry(const at::Tensor& sites, int64_t along) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  const at::Tensor places = sites.narrow(1, 0, 2).to(at::kDouble);
  const at::Tensor finite = at::isfinite(places);
  const at::Tensor low = at::where(finite, places, infinite).amin(0);
  const at::Tensor high = at::where(finite, places, -infinite).amax(0);
  return at::stack({low, high.sub(low).clamp_min(1e-6).div(double(along))});
}

template <typename Device>
std::tuple<at::Tensor, at::Tensor> three_nn(const at::Tensor& points, const at::Tensor& sites,
                                            const at::Tensor& point_frames,
                                            const at::Tensor& site_frames, int64_t frames) {
  check_floats(points, "points", 2, kCoordinates);
  check_floats(sites, "sites", 2, kCoordinates);
  check_alike(points, "points", sites, "sites");
  TORCH_CHECK(frames >= 0 && frames <= kMostFrames,
              "batch_size must be 0 or more and below 2^31, got ", frames);
  const c10::DeviceGuard guard(points.device());
  const at::Tensor point_frame = checked_frames(point_frames, "point_frames", points, "points");
  const at::Tensor site_frame = checked_frames(site_frames, "site_frames", sites, "sites");
  const std::array<int64_t, 2> shape = {points.size(0), kNeighbours};
  const at::TensorOptions indices = points.options().dtype(at::kLong);
  if (points.size(0) == 0 || sites.size(0) == 0 || frames == 0) {
    return {at::full(shape, std::numeric_limits<double>::infinity(), points.options()),
            at::full(shape, -1, indices)};
  }
  const at::Tensor distances = at::empty(shape, points.options());
  const at::Tensor nearest = at::empty(shape, indices);
  const int64_t along = cells_along(sites.size(0), frames);
  const at::Tensor geometry = cell_geometry(sites, along);
  const double* low = geometry.const_data_ptr<double>();
  const CellGrid grid{low, low + 2, frames, along};
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "three_nn", [&] {
    const at::Tensor rows = points.contiguous(), unsorted = sites.contiguous();
    const at::Tensor cells = at::empty({sites.size(0)}, indices);
    Device::for_each(sites.size(0),
                     CellsOfSites<scalar_t>{unsorted.const_data_ptr<scalar_t>(),
                                            site_frame.const_data_ptr<int32_t>(), grid,
                                            cells.mutable_data_ptr<int64_t>()});
    const auto [sorted_cells, order] = at::sort(cells);
    const at::Tensor starts = starts_of<Device>(sorted_cells, grid.cells());
    const at::Tensor sorted = unsorted.index_select(0, order);
    Device::for_each(
        points.size(0),
        ThreeNearest<scalar_t>{
            rows.const_data_ptr<scalar_t>(), point_frame.const_data_ptr<int32_t>(),
            sorted.const_data_ptr<scalar_t>(), order.template const_data_ptr<int64_t>(),
            starts.const_data_ptr<int64_t>(), grid, distances.mutable_data_ptr<scalar_t>(),
            nearest.mutable_data_ptr<int64_t>()});
  });
  return {distances, nearest};
}

void check_neighbours(const at::Tensor& rows, const char* rows_name, const at::Tensor& nearest,
                      const at::Tensor& weights) {
  TORCH_CHECK(nearest.scalar_type() == at::kLong, "nearest must be int64, got ",
              nearest.scalar_type());
  TORCH_CHECK(nearest.dim() == 2 && nearest.size(1) == kNeighbours,
              "nearest must have 2 dimensions, the last of size ", kNeighbours, ", got shape ",
              nearest.sizes());
  TORCH_CHECK(nearest.device() == rows.device(), "nearest must be on the device of ", rows_name,
              ", ", rows.device(), ", got ", nearest.device());
  check_alike(rows, rows_name, weights, "weights");
  TORCH_CHECK(weights.sizes() == nearest.sizes(), "weights must have the shape of nearest, ",
              nearest.sizes(), ", got ", weights.sizes());
}

template <typename Device>
at::Tensor three_interpolate(const at::Tensor& features, const at::Tensor& nearest,
                             const at::Tensor& weights) {
  check_floats(features, "features", 2, features.size(-1));
  check_neighbours(features, "features", nearest, weights);
  if constexpr (std::is_same_v<Device, Cpu>) {  // CUDA would have to wait for the answer
    if (nearest.numel() != 0) {
      const auto [least, most] = nearest.aminmax();
      TORCH_CHECK(least.item<int64_t>() >= -1 && most.item<int64_t>() < features.size(0),
                  "nearest must be -1 or more and below the number of features, ", features.size(0),
                  ", got ", least.item<int64_t>(), " to ", most.item<int64_t>());
    }
  }
  const c10::DeviceGuard guard(features.device());
  const at::Tensor interpolated =
      at::empty({nearest.size(0), features.size(1)}, features.options());
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "three_interpolate", [&] {
    const at::Tensor rows = features.contiguous(), indices = nearest.contiguous(),
                     factors = weights.contiguous();
    Device::for_each_pair(
        nearest.size(0), ChannelSums<scalar_t>::blocks(features.size(1)),
        Interpolate<scalar_t>{rows.const_data_ptr<scalar_t>(), indices.const_data_ptr<int64_t>(),
                              factors.const_data_ptr<scalar_t>(), features.size(1),
                              interpolated.mutable_data_ptr<scalar_t>()});
  });
  return interpolated;
}

template <typename Device>
at::Tensor three_interpolate_backward(const at::Tensor& grad, const at::Tensor& nearest,
                                      const at::Tensor& weights, int64_t sites) {
  check_floats(grad, "grad", 2, grad.size(-1));
  check_neighbours(grad, "grad", nearest, weights);
  const c10::DeviceGuard guard(grad.device());
  const at::Tensor features_grad = at::empty({sites, grad.size(1)}, grad.options());
  // Names of their own, as clang before 16 captures none of a structured binding.
  at::Tensor sorted, slots;
  std::tie(sorted, slots) = at::sort(nearest.flatten(), /*stable=*/std::optional<bool>(true),
                                     /*dim=*/0, /*descending=*/false);
  const at::Tensor starts = starts_of<Device>(sorted, sites);
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "three_interpolate_backward", [&] {
    const at::Tensor rows = grad.contiguous(), factors = weights.contiguous();
    Device::for_each_pair(
        sites, ChannelSums<scalar_t>::blocks(grad.size(1)),
        InterpolateBackward<scalar_t>{
            rows.const_data_ptr<scalar_t>(), slots.template const_data_ptr<int64_t>(),
            starts.const_data_ptr<int64_t>(), factors.const_data_ptr<scalar_t>(), grad.size(1),
            features_grad.mutable_data_ptr<scalar_t>()});
  });
  return features_grad;
}

template <typename Device>
void implement(torch::Library& library) {
  library.impl("three_nn", three_nn<Device>);
  library.impl("three_interpolate", three_interpolate<Device>);
  library.impl("three_interpolate_backward", three_interpolate_backward<Device>);
}

}  // namespace

TORCH_LIBRARY(pcdet_three_nn, library) {
  library.def("cuda_architectures() -> str", cuda_architectures);
  library.def(
      "three_nn(Tensor points, Tensor sites, Tensor point_frames, Tensor site_frames, "
      "int batch_size) -> (Tensor distances, Tensor nearest)");
  library.def("three_interpolate(Tensor features, Tensor nearest, Tensor weights) -> Tensor");
  library.def(
      "three_interpolate_backward(Tensor grad, Tensor nearest, Tensor weights, int sites) -> "
      "Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_three_nn, CPU, library) { implement<Cpu>(library); }

#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(pcdet_three_nn, CUDA, library) { implement<Cuda>(library); }
#endif

}  // namespace pcdet
