// What the operators of this extension share: points in boxes, and the boxes made ready, on either
// device.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "../../common/for_each_cpu.h"
#include "point_blocks.h"
#include "points_in_boxes.h"

#ifdef WITH_CUDA
#include "../../common/for_each_cuda.h"
#endif

namespace pcdet {

template <typename T>
BoxInterior<T>* interiors_in(const at::Tensor& memory) {
  return static_cast<BoxInterior<T>*>(memory.data_ptr());
}

#ifdef WITH_CUDA
template <typename T>
void run(Cuda, const PointsInBoxes<T>& item) {
  Cuda::for_each(item.count, item);
}

template <typename T>
void run(Cuda, const FirstBoxOfPoint<T>& item, int64_t frames) {
  Cuda::for_each_pair(frames, item.count, item);
}
#endif

// The BoxInterior of each box of (..., 7), in memory of torch's allocator.
template <typename Device, typename T>
at::Tensor make_interiors(const at::Tensor& boxes) {
  static_assert(sizeof(BoxInterior<T>) % sizeof(T) == 0, "must be made of numbers alone");
  const at::Tensor rows = boxes.contiguous();
  const int64_t count = rows.numel() / kBoxColumns;
  const at::Tensor memory =
      at::empty({count, int64_t(sizeof(BoxInterior<T>) / sizeof(T))}, boxes.options());
  Device::for_each(count, InteriorsFromBoxes<T>{rows.const_data_ptr<T>(), interiors_in<T>(memory)});
  return memory;
}

}  // namespace pcdet
