// Work items of the three nearest sites, for the CPU and CUDA alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "../../common/host_device.h"

namespace pcdet {

constexpr int kNeighbours = 3;
constexpr int kCoordinates = 3;

// A grid of cells seen from above for each frame; cells are numbered frame by frame, row by row.
// The cell of a place is that of the border where the place lies outside, or is not a number.
struct CellGrid {
  const double *low, *size;  // (2,) corner of the first cell, sides of a cell; x, y
  int64_t frames, side;      // side: cells along x, and along y

  PCDET_HD int64_t cells() const { return frames * side * side; }
  PCDET_HD bool has_frame(int64_t frame) const { return frame >= 0 && frame < frames; }
  // The number along an axis; it never falls as the coordinate grows.
  PCDET_HD int64_t along(int axis, double coordinate) const {
    const double place = (coordinate - low[axis]) / size[axis];
    if (!(place > 0)) return 0;
    return place < double(side) ? int64_t(place) : side - 1;
  }
  PCDET_HD int64_t row_begin(int64_t frame, int64_t row) const {
    return (frame * side + row) * side;
  }
};

// cells[site] = number of its cell, or of one beyond the last for a frame that is not there.
template <typename T>
struct CellsOfSites {
  const T* sites;           // (M, 3)
  const int32_t* frame_of;  // (M,)
  CellGrid grid;
  int64_t* cells;  // (M,)

  PCDET_HD void operator()(int64_t i) const {
    const T* p = sites + i * kCoordinates;
    cells[i] = grid.has_frame(frame_of[i])
                   ? grid.row_begin(frame_of[i], grid.along(1, p[1])) + grid.along(0, p[0])
                   : grid.cells();
  }
};

// starts[key] = how many of the sorted keys are less, for the keys from 0 to `last`.
struct StartsOfKeys {
  const int64_t* keys;  // (K,) ascending
  int64_t count, last;
  int64_t* starts;  // (last + 1,)

  // Item i of K + 1: the keys after the one before, up to its own.
  PCDET_HD void operator()(int64_t i) const {
    const int64_t begin = i == 0 || keys[i - 1] < 0 ? 0 : keys[i - 1] + 1;
    const int64_t end = i == count || keys[i] > last ? last : keys[i];
    for (int64_t key = begin; key <= end; ++key) starts[key] = i;
  }
};

PCDET_HD int64_t smaller(int64_t a, int64_t b) { return b < a ? b : a; }
PCDET_HD int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

// The three nearest sites so far, the nearest first; of those at one distance the lower index.
template <typename T>
struct NearestThree {
  T squared[kNeighbours] = {T(INFINITY), T(INFINITY), T(INFINITY)};
  int64_t site[kNeighbours] = {-1, -1, -1};

  PCDET_HD bool is_before(int k, T distance, int64_t index) const {
    return distance < squared[k] || (distance == squared[k] && index < site[k]);
  }
  PCDET_HD void offer(T distance, int64_t index) {
    if (!is_before(kNeighbours - 1, distance, index)) return;
    int k = kNeighbours - 1;
    for (; k > 0 && is_before(k - 1, distance, index); --k) {
      squared[k] = squared[k - 1];
      site[k] = site[k - 1];
    }
    squared[k] = distance;
    site[k] = index;
  }
};

// The three nearest of the sites in a point's frame.
template <typename T>
struct ThreeNearest {
  const T* points;          // (N, 3)
  const int32_t* frame_of;  // (N,)
  const T* sites;           // (M, 3) sorted by cell
  const int64_t* order;     // (M,) their index before
  const int64_t* starts;    // (cells + 1,)
  CellGrid grid;
  T* distances;      // (N, 3)
  int64_t* nearest;  // (N, 3)

  PCDET_HD void operator()(int64_t point) const {
    NearestThree<T> found;
    if (grid.has_frame(frame_of[point]))
      search(points + point * kCoordinates, frame_of[point], found);
    for (int k = 0; k < kNeighbours; ++k) {
      distances[point * kNeighbours + k] = std::sqrt(found.squared[k]);
      nearest[point * kNeighbours + k] = found.site[k];
    }
  }

 private:
  // Cells seen from above, ends included.
  struct Block {
    int64_t left, right, bottom, top;
  };

  // First blocks that grow until they hold three sites; then all cells within the third's distance.
  PCDET_HD void search(const T* p, int64_t frame, NearestThree<T>& found) const {
    const int64_t x = grid.along(0, p[0]), y = grid.along(1, p[1]), most = grid.side - 1;
    Block seen = {x, x - 1, y, y - 1};  // none
    for (int64_t reach = 0; std::isinf(found.squared[kNeighbours - 1]); reach = 2 * reach + 1) {
      const Block block = {larger(x - reach, 0), smaller(x + reach, most), larger(y - reach, 0),
                           smaller(y + reach, most)};
      look_into(p, frame, block, seen, found);
      seen = block;
      if (block.left == 0 && block.right == most && block.bottom == 0 && block.top == most) return;
    }
    // The margins cover the rounding of the distance, and its underflow.
    const double radius = std::sqrt(double(found.squared[kNeighbours - 1])) * 1.0001 + 1e-18;
    const Block block = {grid.along(0, p[0] - radius), grid.along(0, p[0] + radius),
                         grid.along(1, p[1] - radius), grid.along(1, p[1] + radius)};
    look_into(p, frame, block, seen, found);
  }

  // Offers the sites of a block, but for those of the cells that were seen before.
  PCDET_HD void look_into(const T* p, int64_t frame, const Block& block, const Block& seen,
                          NearestThree<T>& found) const {
    for (int64_t row = block.bottom; row <= block.top; ++row) {
      const int64_t* begins = starts + grid.row_begin(frame, row);
      if (row < seen.bottom || row > seen.top) {
        offer(p, begins[block.left], begins[block.right + 1], found);
      } else {
        if (block.left < seen.left) offer(p, begins[block.left], begins[seen.left], found);
        if (block.right > seen.right) {
          offer(p, begins[seen.right + 1], begins[block.right + 1], found);
        }
      }
    }
  }

  PCDET_HD void offer(const T* p, int64_t begin, int64_t end, NearestThree<T>& found) const {
    for (int64_t i = begin; i < end; ++i) {
      const T* q = sites + i * kCoordinates;
      const T dx = p[0] - q[0], dy = p[1] - q[1], dz = p[2] - q[2];
      found.offer(dx * dx + dy * dy + dz * dz, order[i]);
    }
  }
};

}  // namespace pcdet
