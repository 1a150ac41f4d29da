// RoI-aware pooling operators: checks, memory and the choice of the device.
#include "roiaware_pool3d.h"

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <array>
#include <limits>
#include <tuple>

#include "../../common/cuda_architectures.h"
#include "../../common/tensor_checks.h"
#include "device_tensors.h"
#include "point_blocks.h"

namespace pcdet {
namespace {

using Lists = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// The tensors of list_points as the operators that follow take them.
struct ListTensors {
  at::Tensor points, cells;  // (R, N)
  at::Tensor kept;           // (R,)
  at::Tensor filled;         // (R, cells)

  RoiPoints view() const {
    return {points.const_data_ptr<int32_t>(), cells.const_data_ptr<int32_t>(),
            kept.const_data_ptr<int32_t>(), points.size(1)};
  }
  int64_t rois() const { return points.size(0); }
  int64_t cells_of_roi() const { return filled.size(1); }
};

BoxGrid grid_of(at::IntArrayRef out_size) {
  TORCH_CHECK(out_size.size() == 3, "out_size must hold 3 numbers (x, y, z), got ", out_size);
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  int64_t cells = 1;
  for (const int64_t size : out_size) {
    TORCH_CHECK(size >= 1 && size <= most / cells,
                "out_size must be 1 or more each way and below 2^31 cells, got ", out_size);
    cells *= size;
  }
  return {static_cast<int32_t>(out_size[0]), static_cast<int32_t>(out_size[1]),
          static_cast<int32_t>(out_size[2])};
}

template <typename Device>
Lists list_points(const at::Tensor& rois, const at::Tensor& points, at::IntArrayRef out_size,
                  int64_t max_points) {
  check_floats(rois, "rois", 2, kBoxColumns);
  check_floats(points, "pts", 2, kPointColumns);
  check_alike(rois, "rois", points, "pts");
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  TORCH_CHECK(points.size(0) <= most, "pts must be below 2^31 points, got ", points.size(0));
  TORCH_CHECK(max_points >= 1 && max_points <= most,
              "max_pts_each_voxel must be 1 or more and below 2^31, got ", max_points);
  const BoxGrid grid = grid_of(out_size);
  const int64_t rows = rois.size(0), count = points.size(0);
  const auto options = points.options().dtype(at::kInt);
  const c10::DeviceGuard guard(points.device());
  const at::Tensor listed = at::empty({rows, count}, options), kept = at::empty({rows}, options);
  const at::Tensor cells = at::empty({rows, count}, options);  // before, which points are inside
  const at::Tensor filled = at::zeros({rows, grid.cells()}, options);
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "list_points", [&] {
    const at::Tensor contiguous = points.contiguous();
    const at::Tensor memory = make_interiors<Device, scalar_t>(rois);
    const scalar_t* xyz = contiguous.const_data_ptr<scalar_t>();
    const BoxInterior<scalar_t>* interiors = interiors_in<scalar_t>(memory);
    run(Device{},
        PointsInBoxes<scalar_t>{xyz, interiors, rows, count, cells.mutable_data_ptr<int32_t>()});
    Device::for_each_by_team(
        rows, ListRoiPoints<scalar_t>{
                  xyz, interiors, grid, count, static_cast<int32_t>(max_points),
                  listed.mutable_data_ptr<int32_t>(), cells.mutable_data_ptr<int32_t>(),
                  kept.mutable_data_ptr<int32_t>(), filled.mutable_data_ptr<int32_t>()});
  });
  return {listed, cells, kept, filled};
}

void check_features(const at::Tensor& features, const ListTensors& lists) {
  TORCH_CHECK(features.dim() == 2 && features.size(0) == lists.points.size(1),
              "pts_feature must have shape (", lists.points.size(1), ", C), got ",
              features.sizes());
  check_floats(features, "pts_feature", 2, features.size(1));
  TORCH_CHECK(features.device() == lists.points.device(), "pts_feature must be on the device of ",
              "pts, ", lists.points.device(), ", got ", features.device());
}

template <typename Device>
std::tuple<at::Tensor, at::Tensor> max_pool(const at::Tensor& features, const at::Tensor& points,
                                            const at::Tensor& cells, const at::Tensor& kept,
                                            const at::Tensor& filled) {
  const c10::DeviceGuard guard(points.device());
  const ListTensors lists{points, cells, kept, filled};
  check_features(features, lists);
  const std::array<int64_t, 3> shape = {lists.rois(), lists.cells_of_roi(), features.size(1)};
  const at::Tensor pooled = at::zeros(shape, features.options());
  const at::Tensor argmax = at::full(shape, -1, points.options());
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "max_pool", [&] {
    const at::Tensor rows = features.contiguous();
    Device::for_each_pair(
        lists.rois(), features.size(1),
        MaxPool<scalar_t>{lists.view(), lists.cells_of_roi(), features.size(1),
                          rows.const_data_ptr<scalar_t>(), pooled.mutable_data_ptr<scalar_t>(),
                          argmax.mutable_data_ptr<int32_t>()});
  });
  return {pooled, argmax};
}

template <typename Device>
at::Tensor max_pool_backward(const at::Tensor& grad, const at::Tensor& argmax,
                             const at::Tensor& points, const at::Tensor& cells,
                             const at::Tensor& kept, const at::Tensor& filled) {
  const c10::DeviceGuard guard(points.device());
  const ListTensors lists{points, cells, kept, filled};
  const at::Tensor features_grad = at::zeros({points.size(1), grad.size(2)}, grad.options());
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "max_pool_backward", [&] {
    const at::Tensor rows = grad.contiguous();
    Device::for_each_pair_adding(
        lists.rois(), grad.size(2),
        MaxPoolBackward<scalar_t>{lists.view(), lists.cells_of_roi(), grad.size(2),
                                  rows.const_data_ptr<scalar_t>(), argmax.const_data_ptr<int32_t>(),
                                  features_grad.mutable_data_ptr<scalar_t>()});
  });
  return features_grad;
}

template <typename Device>
at::Tensor average_pool(const at::Tensor& features, const at::Tensor& points,
                        const at::Tensor& cells, const at::Tensor& kept, const at::Tensor& filled) {
  const c10::DeviceGuard guard(points.device());
  const ListTensors lists{points, cells, kept, filled};
  check_features(features, lists);
  const at::Tensor pooled =
      at::zeros({lists.rois(), lists.cells_of_roi(), features.size(1)}, features.options());
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "average_pool", [&] {
    const at::Tensor rows = features.contiguous();
    Device::for_each_pair(
        lists.rois(), features.size(1),
        AveragePool<scalar_t>{lists.view(), lists.cells_of_roi(), features.size(1),
                              filled.const_data_ptr<int32_t>(), rows.const_data_ptr<scalar_t>(),
                              pooled.mutable_data_ptr<scalar_t>()});
  });
  return pooled;
}

template <typename Device>
at::Tensor average_pool_backward(const at::Tensor& grad, const at::Tensor& points,
                                 const at::Tensor& cells, const at::Tensor& kept,
                                 const at::Tensor& filled) {
  const c10::DeviceGuard guard(points.device());
  const ListTensors lists{points, cells, kept, filled};
  const at::Tensor features_grad = at::zeros({points.size(1), grad.size(2)}, grad.options());
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "average_pool_backward", [&] {
    const at::Tensor rows = grad.contiguous();
    Device::for_each_pair_adding(
        lists.rois(), grad.size(2),
        AveragePoolBackward<scalar_t>{
            lists.view(), lists.cells_of_roi(), grad.size(2), filled.const_data_ptr<int32_t>(),
            rows.const_data_ptr<scalar_t>(), features_grad.mutable_data_ptr<scalar_t>()});
  });
  return features_grad;
}

template <typename Device>
void implement(torch::Library& library) {
  library.impl("list_points", list_points<Device>);
  library.impl("max_pool", max_pool<Device>);
  library.impl("max_pool_backward", max_pool_backward<Device>);
  library.impl("average_pool", average_pool<Device>);
  library.impl("average_pool_backward", average_pool_backward<Device>);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pcdet_roiaware_pool3d, library) {
  library.def("cuda_architectures() -> str", cuda_architectures);
  library.def(
      "list_points(Tensor rois, Tensor points, int[] out_size, int max_points) -> "
      "(Tensor points, Tensor cells, Tensor kept, Tensor filled)");
  library.def(
      "max_pool(Tensor features, Tensor points, Tensor cells, Tensor kept, Tensor filled) -> "
      "(Tensor pooled, Tensor argmax)");
  library.def(
      "max_pool_backward(Tensor grad, Tensor argmax, Tensor points, Tensor cells, Tensor kept, "
      "Tensor filled) -> Tensor");
  library.def(
      "average_pool(Tensor features, Tensor points, Tensor cells, Tensor kept, Tensor filled) -> "
      "Tensor");
  library.def(
      "average_pool_backward(Tensor grad, Tensor points, Tensor cells, Tensor kept, "
      "Tensor filled) -> Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_roiaware_pool3d, CPU, library) { implement<Cpu>(library); }

#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(pcdet_roiaware_pool3d, CUDA, library) { implement<Cuda>(library); }
#endif

}  // namespace pcdet
