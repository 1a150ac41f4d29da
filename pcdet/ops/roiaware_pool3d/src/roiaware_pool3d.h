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

// Turns a row of 0 and 1 (PointsInBoxes) into the list of the RoI's points, in their order, at most
// `max_points` to a cell, the first ones.
//
// The team lists the points of the flags, then finds their cells, which take the flags' place. Each
// cell is filled by one thread, which passes by all the points: so it knows the first ones.
template <typename T>
struct ListRoiPoints {
  const T* points;                  // (N, 3)
  const BoxInterior<T>* interiors;  // (R,)
  BoxGrid grid;
  int64_t count;
  int32_t max_points;
  int32_t* listed;  // (R, N) out: indices of the points
  int32_t* cells;   // (R, N) in: flags; out: cells
  int32_t* kept;    // (R,) out
  int32_t* filled;  // (R, cells) in: 0; out: points in the cell

  struct Scratch {
    int32_t sizes[kMostInTeam], inside;
  };

  PCDET_HD void operator()(int64_t roi, const Team& team, Scratch& scratch) const {
    int32_t* own_listed = listed + roi * count;
    int32_t* own_cells = cells + roi * count;
    list_flags(own_cells, own_listed, team, scratch);
    const int32_t inside = scratch.inside;
    for (int32_t k = team.rank; k < inside; k += team.size) {
      const T* p = points + int64_t(own_listed[k]) * kPointColumns;
      own_cells[k] = grid.cell_of(interiors[roi], p[0], p[1], p[2]);
    }
    team.meet();
    scratch.sizes[team.rank] = fill_cells(own_cells, inside, filled + roi * grid.cells(), team);
    team.meet();
    if (team.rank == 0) {
      const int32_t size = sum(scratch.sizes, team.size);
      if (size < inside) close_gaps(own_listed, own_cells, inside);
      kept[roi] = size;
    }
  }

 private:
  static constexpr int32_t kDropped = -1;

  static PCDET_HD int32_t sum(const int32_t* numbers, int size) {
    int32_t total = 0;
    for (int i = 0; i < size; ++i) total += numbers[i];
    return total;
  }

  // Lists the places of the flags that are set, and leaves their number in scratch.inside. Each
  // thread has a stretch of the flags; it counts them first, so that the later ones know where to
  // begin. The last one is spared that, and with it the CPU.
  PCDET_HD void list_flags(const int32_t* flags, int32_t* list, const Team& team,
                           Scratch& scratch) const {
    const bool last = team.rank == team.size - 1;
    const int64_t stretch = (count + team.size - 1) / team.size, begin = team.rank * stretch;
    const int64_t end = begin + stretch < count ? begin + stretch : count;
    int32_t size = 0;
    for (int64_t i = begin; i < end && !last; ++i) size += flags[i];
    scratch.sizes[team.rank] = size;
    team.meet();
    int32_t place = sum(scratch.sizes, team.rank);
    for (int64_t i = begin; i < end; ++i) {
      if (flags[i]) list[place++] = static_cast<int32_t>(i);
    }
    if (last) scratch.inside = place;
    team.meet();
  }

  // Fills the cells that are this thread's, every team.size-th, and returns how many points it
  // kept. The cell of one that is not kept becomes kDropped, which no other thread has or waits
  // for.
  PCDET_HD int32_t fill_cells(int32_t* own_cells, int32_t inside, int32_t* own_filled,
                              const Team& team) const {
    int32_t size = 0;
    for (int32_t k = 0; k < inside; ++k) {
      const int32_t cell = own_cells[k];
      if (cell % team.size != team.rank) continue;
      if (own_filled[cell] == max_points) {
        own_cells[k] = kDropped;
      } else {
        ++own_filled[cell];
        ++size;
      }
    }
    return size;
  }

  // Takes those out that were dropped; cells that overflow are rare.
  static PCDET_HD void close_gaps(int32_t* own_listed, int32_t* own_cells, int32_t inside) {
    int32_t size = 0;
    for (int32_t k = 0; k < inside; ++k) {
      if (own_cells[k] == kDropped) continue;
      own_listed[size] = own_listed[k];
      own_cells[size] = own_cells[k];
      ++size;
    }
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
