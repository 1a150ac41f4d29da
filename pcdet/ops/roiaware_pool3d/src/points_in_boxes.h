// Work items of the points-in-boxes operators, for the CPU and CUDA alike.
#pragma once

#include <cstdint>

#include "../../common/box3d.h"

namespace pcdet {

constexpr int kPointColumns = 3;

template <typename T>
struct InteriorsFromBoxes {
  const T* boxes;  // (M, 7)
  BoxInterior<T>* interiors;

  PCDET_HD void operator()(int64_t i) const {
    interiors[i] = BoxInterior<T>::from_box3d(boxes + i * kBoxColumns);
  }
};

// inside[box, point] = 1 where the box holds the point, else 0.
template <typename T>
struct PointsInBoxes {
  const T* points;                  // (N, 3)
  const BoxInterior<T>* interiors;  // (M,)
  int64_t boxes, count;
  int32_t* inside;  // (M, N)

  PCDET_HD void operator()(int64_t point) const {
    const T* p = points + point * kPointColumns;
    for (int64_t box = 0; box < boxes; ++box) {
      inside[box * count + point] = interiors[box].contains(p[0], p[1], p[2]);
    }
  }
};

// box_of_point[frame, point] = index of the first box of the frame that holds the point, or -1.
template <typename T>
struct FirstBoxOfPoint {
  const T* points;                  // (B, N, 3)
  const BoxInterior<T>* interiors;  // (B, M)
  int64_t boxes, count;
  int32_t* box_of_point;  // (B, N)

  PCDET_HD void operator()(int64_t frame, int64_t point) const {
    const T* p = points + (frame * count + point) * kPointColumns;
    const BoxInterior<T>* own = interiors + frame * boxes;
    int32_t found = -1;
    for (int64_t box = boxes - 1; box >= 0; --box) {
      if (own[box].contains(p[0], p[1], p[2])) found = static_cast<int32_t>(box);
    }
    box_of_point[frame * count + point] = found;
  }
};

}  // namespace pcdet
