// Overlap and NMS operators: checks, memory and the choice of the device.
#include "iou3d_nms.h"

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "../../common/cuda_architectures.h"
#include "../../common/for_each_cpu.h"
#include "../../common/tensor_checks.h"
#include "greedy_nms.h"

#ifdef WITH_CUDA
#include "../../common/for_each_cuda.h"
#endif

namespace pcdet {
namespace {

// Memory for one shape a box, from torch's allocator: N rows of the numbers in a shape.
template <typename Shape, typename T>
at::Tensor empty_shapes(const at::Tensor& boxes) {
  static_assert(sizeof(Shape) % sizeof(T) == 0, "a shape must be made of numbers alone");
  return at::empty({boxes.size(0), int64_t(sizeof(Shape) / sizeof(T))}, boxes.options());
}

template <typename Shape>
Shape* shapes_in(const at::Tensor& memory) {
  return static_cast<Shape*>(memory.data_ptr());
}

template <typename Device, template <typename> class FromBoxes, typename Shape, typename T>
at::Tensor make_shapes(const at::Tensor& boxes) {
  const at::Tensor memory = empty_shapes<Shape, T>(boxes);
  const at::Tensor rows = boxes.contiguous();
  Device::for_each(rows.size(0), FromBoxes<T>{rows.const_data_ptr<T>(), shapes_in<Shape>(memory)});
  return memory;
}

void check_pair(const at::Tensor& a, const at::Tensor& b, int64_t columns) {
  check_floats(a, "boxes_a", 2, columns);
  check_floats(b, "boxes_b", 2, columns);
  check_alike(a, "boxes_a", b, "boxes_b");
}

template <typename Device>
at::Tensor overlap_bev(const at::Tensor& a, const at::Tensor& b) {
  check_pair(a, b, kBevColumns);
  const c10::DeviceGuard guard(a.device());
  const at::Tensor result = at::empty({a.size(0), b.size(0)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "overlap_bev", [&] {
    using Shape = Footprint<scalar_t>;
    const auto shapes_a = make_shapes<Device, FootprintsFromBev, Shape, scalar_t>(a);
    const auto shapes_b = make_shapes<Device, FootprintsFromBev, Shape, scalar_t>(b);
    Device::for_each_pair(
        a.size(0), b.size(0),
        PairwiseOverlap<scalar_t>{shapes_in<Shape>(shapes_a), shapes_in<Shape>(shapes_b), b.size(0),
                                  result.mutable_data_ptr<scalar_t>()});
  });
  return result;
}

template <typename Device, template <typename> class FromBoxes, template <typename> class Shape>
at::Tensor pairwise_iou(const at::Tensor& a, const at::Tensor& b) {
  const c10::DeviceGuard guard(a.device());
  const at::Tensor result = at::empty({a.size(0), b.size(0)}, a.options());
  AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "pairwise_iou", [&] {
    using ShapeT = Shape<scalar_t>;
    const auto shapes_a = make_shapes<Device, FromBoxes, ShapeT, scalar_t>(a);
    const auto shapes_b = make_shapes<Device, FromBoxes, ShapeT, scalar_t>(b);
    Device::for_each_pair(
        a.size(0), b.size(0),
        PairwiseIou<scalar_t, Shape>{shapes_in<ShapeT>(shapes_a), shapes_in<ShapeT>(shapes_b),
                                     b.size(0), result.mutable_data_ptr<scalar_t>()});
  });
  return result;
}

template <typename Device>
at::Tensor iou_bev(const at::Tensor& a, const at::Tensor& b) {
  check_pair(a, b, kBevColumns);
  return pairwise_iou<Device, FootprintsFromBev, Footprint>(a, b);
}

template <typename Device>
at::Tensor iou3d(const at::Tensor& a, const at::Tensor& b) {
  check_pair(a, b, kBoxColumns);
  return pairwise_iou<Device, SolidsFromBoxes, Solid>(a, b);
}

// Which boxes, in the order of the scores, are kept; `kept` holds false.
template <typename T>
void choose(Cpu, const at::Tensor& shapes, T threshold, const at::Tensor& kept) {
  greedy_nms(shapes_in<Footprint<T>>(shapes), shapes.size(0), threshold,
             kept.mutable_data_ptr<bool>());
}

#ifdef WITH_CUDA
// All pairs are compared at once, then one block chooses.
template <typename T>
void choose(Cuda, const at::Tensor& shapes, T threshold, const at::Tensor& kept) {
  const int64_t count = shapes.size(0), words_per_row = (count + kBitsPerWord - 1) / kBitsPerWord;
  const auto options = shapes.options().dtype(at::kLong);
  const at::Tensor words = at::empty({count, words_per_row}, options);
  const at::Tensor suppressed = at::zeros({words_per_row}, options);
  Cuda::for_each_pair(words_per_row, count,
                      SuppressionWords<T>{shapes_in<Footprint<T>>(shapes), count, words_per_row,
                                          threshold, static_cast<uint64_t*>(words.data_ptr())});
  Cuda::for_each_by_team(
      1,
      GreedyChoice{static_cast<const uint64_t*>(words.data_ptr()), count, words_per_row,
                   static_cast<uint64_t*>(suppressed.data_ptr()), kept.mutable_data_ptr<bool>()});
}
#endif

template <typename Device>
at::Tensor nms(const at::Tensor& boxes, const at::Tensor& scores, double threshold, bool rotated) {
  check_floats(boxes, "boxes", 2, kBevColumns);
  TORCH_CHECK(scores.dim() == 1 && scores.size(0) == boxes.size(0), "scores must have shape (",
              boxes.size(0), ",), one for each box, got ", scores.sizes());
  TORCH_CHECK(boxes.device() == scores.device(), "scores must be on the device of boxes, ",
              boxes.device(), ", got ", scores.device());
  TORCH_CHECK(threshold >= 0, "thresh must be an IoU of 0 or more, got ", threshold);
  const c10::DeviceGuard guard(boxes.device());
  const at::Tensor order = scores.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  const at::Tensor sorted = boxes.index_select(0, order);
  const at::Tensor kept = at::zeros({boxes.size(0)}, boxes.options().dtype(at::kBool));
  AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "nms", [&] {
    using Shape = Footprint<scalar_t>;
    const auto shapes =
        rotated ? make_shapes<Device, FootprintsFromBev, Shape, scalar_t>(sorted)
                : make_shapes<Device, FootprintsFromBevUnturned, Shape, scalar_t>(sorted);
    choose(Device{}, shapes, static_cast<scalar_t>(threshold), kept);
  });
  return order.masked_select(kept);  // the one thing to wait for: how many
}

template <typename Device>
void implement(torch::Library& library) {
  library.impl("overlap_bev", overlap_bev<Device>);
  library.impl("iou_bev", iou_bev<Device>);
  library.impl("iou3d", iou3d<Device>);
  library.impl("nms", nms<Device>);
}

}  // namespace

TORCH_LIBRARY(pcdet_iou3d_nms, library) {
  library.def("cuda_architectures() -> str", cuda_architectures);
  library.def("overlap_bev(Tensor boxes_a, Tensor boxes_b) -> Tensor");
  library.def("iou_bev(Tensor boxes_a, Tensor boxes_b) -> Tensor");
  library.def("iou3d(Tensor boxes_a, Tensor boxes_b) -> Tensor");
  library.def("nms(Tensor boxes, Tensor scores, float threshold, bool rotated) -> Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_iou3d_nms, CPU, library) { implement<Cpu>(library); }

#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(pcdet_iou3d_nms, CUDA, library) { implement<Cuda>(library); }
#endif

}  // namespace pcdet
