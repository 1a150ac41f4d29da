// The loops of points_in_boxes.h in the order that suits a CPU: a block of points that stays in the
// first cache, x, y and z apart, against one box after another, several points an instruction.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../common/for_each_cpu.h"
#include "points_in_boxes.h"

namespace pcdet {

template <typename T>
struct PointBlock {
  static constexpr int64_t kSize = 1024;
  T x[kSize], y[kSize], z[kSize];
  int64_t begin, size;

  PointBlock(const T* points, int64_t begin, int64_t end) : begin(begin), size(end - begin) {
    for (int64_t i = 0; i < size; ++i) {
      const T* p = points + (begin + i) * kPointColumns;
      x[i] = p[0];
      y[i] = p[1];
      z[i] = p[2];
    }
  }
};

// Calls visit(block) for all points, in parallel.
template <typename T, typename Visit>
void for_each_block(const T* points, int64_t count, const Visit& visit) {
  constexpr int64_t size = PointBlock<T>::kSize;
  Cpu::for_each(
      (count + size - 1) / size,
      [&](int64_t k) { visit(PointBlock<T>(points, k * size, std::min(count, (k + 1) * size))); },
      /*grain=*/1);
}

template <typename T>
void run(Cpu, const PointsInBoxes<T>& item) {
  for_each_block(item.points, item.count, [&](const PointBlock<T>& block) {
    for (int64_t box = 0; box < item.boxes; ++box) {
      const BoxInterior<T> interior = item.interiors[box];
      int32_t* inside = item.inside + box * item.count + block.begin;
      for (int64_t i = 0; i < block.size; ++i) {
        inside[i] = interior.contains(block.x[i], block.y[i], block.z[i]);
      }
    }
  });
}

template <typename T>
void run(Cpu, const FirstBoxOfPoint<T>& item, int64_t frames) {
  for (int64_t frame = 0; frame < frames; ++frame) {
    const T* points = item.points + frame * item.count * kPointColumns;
    for_each_block(points, item.count, [&](const PointBlock<T>& block) {
      int32_t* found = item.box_of_point + frame * item.count + block.begin;
      std::fill(found, found + block.size, -1);
      for (int64_t box = item.boxes - 1; box >= 0; --box) {
        const BoxInterior<T> interior = item.interiors[frame * item.boxes + box];
        for (int64_t i = 0; i < block.size; ++i) {
          const bool inside = interior.contains(block.x[i], block.y[i], block.z[i]);
          found[i] = inside ? static_cast<int32_t>(box) : found[i];
        }
      }
    });
  }
}

}  // namespace pcdet
