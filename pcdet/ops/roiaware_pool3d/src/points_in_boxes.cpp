// Points-in-boxes operators: checks, memory and the choice of the device.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "../../common/tensor_checks.h"
#include "device_tensors.h"
#include "point_blocks.h"

namespace pcdet {
namespace {

template <typename Device>
at::Tensor points_in_boxes(const at::Tensor& points, const at::Tensor& boxes) {
  check_floats(points, "points", 2, kPointColumns);
  check_floats(boxes, "boxes", 2, kBoxColumns);
  check_alike(points, "points", boxes, "boxes");
  const c10::DeviceGuard guard(points.device());
  const at::Tensor inside =
      at::empty({boxes.size(0), points.size(0)}, points.options().dtype(at::kInt));
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes", [&] {
    const at::Tensor rows = points.contiguous(),
                     interiors = make_interiors<Device, scalar_t>(boxes);
    run(Device{},
        PointsInBoxes<scalar_t>{rows.const_data_ptr<scalar_t>(), interiors_in<scalar_t>(interiors),
                                boxes.size(0), points.size(0), inside.mutable_data_ptr<int32_t>()});
  });
  return inside;
}

template <typename Device>
at::Tensor first_box_of_point(const at::Tensor& points, const at::Tensor& boxes) {
  check_floats(points, "points", 3, kPointColumns);
  check_floats(boxes, "boxes", 3, kBoxColumns);
  check_alike(points, "points", boxes, "boxes");
  TORCH_CHECK(points.size(0) == boxes.size(0), "boxes must have as many frames as points, ",
              points.size(0), ", got ", boxes.size(0));
  const c10::DeviceGuard guard(points.device());
  const at::Tensor found =
      at::empty({points.size(0), points.size(1)}, points.options().dtype(at::kInt));
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "first_box_of_point", [&] {
    const at::Tensor rows = points.contiguous(),
                     interiors = make_interiors<Device, scalar_t>(boxes);
    run(Device{},
        FirstBoxOfPoint<scalar_t>{rows.const_data_ptr<scalar_t>(),
                                  interiors_in<scalar_t>(interiors), boxes.size(1), points.size(1),
                                  found.mutable_data_ptr<int32_t>()},
        points.size(0));
  });
  return found;
}

template <typename Device>
void implement(torch::Library& library) {
  library.impl("points_in_boxes", points_in_boxes<Device>);
  library.impl("first_box_of_point", first_box_of_point<Device>);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pcdet_roiaware_pool3d, library) {
  library.def("points_in_boxes(Tensor points, Tensor boxes) -> Tensor");
  library.def("first_box_of_point(Tensor points, Tensor boxes) -> Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_roiaware_pool3d, CPU, library) { implement<Cpu>(library); }

#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(pcdet_roiaware_pool3d, CUDA, library) { implement<Cuda>(library); }
#endif

}  // namespace pcdet
