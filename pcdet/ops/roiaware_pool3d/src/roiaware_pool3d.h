// Work items of the RoI-aware pooling operators, for the CPU and CUDA alike.
#pragma once

#include <cstdint>

#include "../../common/box3d.h"
#include "points_in_boxes.h"

namespace pcdet {

// For each RoI its points in their order, each with its cell; rows of N, of which kept[roi] count.
struct RoiPoints {
  const int32_t *points, *cells;  // (R, N)
  const int32_t* kept;            // (R,)
  int64_t row;                    // N
};

// Turns a row of 0 and 1 (PointsInBoxes) into the list of the RoI's points, at most `max_points`
// to a cell, the first ones. The list grows behind the flag that is read, so it takes their place.
template <typename T>
struct ListRoiPoints {
  const T* points;                  // (N, 3)
  const BoxInterior<T>* interiors;  // (R,)
  BoxGrid grid;
  int64_t count;
  int32_t max_points;
  int32_t* inside;  // (R, N) in: flags; out: indices of the points
  int32_t* cells;   // (R, N) out
  int32_t* kept;    // (R,) out
  int32_t* filled;  // (R, cells) in: 0; out: points in the cell

  PCDET_HD void operator()(int64_t roi) const {
    int32_t* own_points = inside + roi * count;
    int32_t* own_cells = cells + roi * count;
    int32_t* own_filled = filled + roi * grid.cells();
    int32_t size = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (!own_points[i]) continue;
      const T* p = points + i * kPointColumns;
      const int32_t cell = grid.cell_of(interiors[roi], p[0], p[1], p[2]);
      if (own_filled[cell] == max_points) continue;
      ++own_filled[cell];
      own_points[size] = static_cast<int32_t>(i);
      own_cells[size] = cell;
      ++size;
    }
    kept[roi] = size;
  }
};

// pooled[roi, cell, channel] = the largest value of the cell's points; of equal ones the first.
template <typename T>
struct MaxPool {
  RoiPoints lists;
  int64_t cells, channels;
  const T* features;  // (N, C)
  T* pooled;          // (R, cells, C) in: 0
  int32_t* argmax;    // (R, cells, C) in: -1; out: index of the point

  PCDET_HD void operator()(int64_t roi, int64_t channel) const {
    for (int64_t k = roi * lists.row; k < roi * lists.row + lists.kept[roi]; ++k) {
      const int64_t slot = (roi * cells + lists.cells[k]) * channels + channel;
      const T value = features[lists.points[k] * channels + channel];
      // A value that is not a number is taken, and stays: no other is larger.
      if (argmax[slot] < 0 || value > pooled[slot] || value != value) {
        pooled[slot] = value;
        argmax[slot] = lists.points[k];
      }
    }
  }
};

template <typename T>
struct MaxPoolBackward {
  RoiPoints lists;
  int64_t cells, channels;
  const T* pooled_grad;   // (R, cells, C)
  const int32_t* argmax;  // (R, cells, C)
  T* features_grad;       // (N, C) in: 0

  PCDET_HD void operator()(int64_t roi, int64_t channel) const {
    for (int64_t k = roi * lists.row; k < roi * lists.row + lists.kept[roi]; ++k) {
      const int64_t slot = (roi * cells + lists.cells[k]) * channels + channel;
      if (argmax[slot] == lists.points[k]) {
        add_shared(features_grad + lists.points[k] * channels + channel, pooled_grad[slot]);
      }
    }
  }
};

// pooled[roi, cell, channel] = the mean over the cell's points.
template <typename T>
struct AveragePool {
  RoiPoints lists;
  int64_t cells, channels;
  const int32_t* filled;  // (R, cells)
  const T* features;      // (N, C)
  T* pooled;              // (R, cells, C) in: 0

  PCDET_HD void operator()(int64_t roi, int64_t channel) const {
    for (int64_t k = roi * lists.row; k < roi * lists.row + lists.kept[roi]; ++k) {
      const int64_t cell = roi * cells + lists.cells[k];
      pooled[cell * channels + channel] +=
          features[lists.points[k] * channels + channel] / filled[cell];
    }
  }
};

template <typename T>
struct AveragePoolBackward {
  RoiPoints lists;
  int64_t cells, channels;
  const int32_t* filled;  // (R, cells)
  const T* pooled_grad;   // (R, cells, C)
  T* features_grad;       // (N, C) in: 0

  PCDET_HD void operator()(int64_t roi, int64_t channel) const {
    for (int64_t k = roi * lists.row; k < roi * lists.row + lists.kept[roi]; ++k) {
      const int64_t cell = roi * cells + lists.cells[k];
      add_shared(features_grad + lists.points[k] * channels + channel,
                 pooled_grad[cell * channels + channel] / filled[cell]);
    }
  }
};

}  // namespace pcdet
