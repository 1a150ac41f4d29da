// Work items of the interpolation between three sites, for the CPU and CUDA alike.
#pragma once

#include <cstdint>

#include "three_nn.h"

namespace pcdet {

// Sums of some neighbouring channels; so many to an item that their place is looked up once for
// all.
template <typename T>
struct ChannelSums {
  static constexpr int kMost = 8;
  int64_t first, size;
  T sums[kMost] = {};

  static PCDET_HD int64_t blocks(int64_t channels) { return (channels + kMost - 1) / kMost; }
  PCDET_HD ChannelSums(int64_t block, int64_t channels)
      : first(block * kMost), size(smaller(kMost, channels - block * kMost)) {}
  // `row` and `to` hold all channels.
  PCDET_HD void add(T weight, const T* row) {
    if (size == kMost) {  // a number that the compiler knows
      for (int c = 0; c < kMost; ++c) sums[c] += weight * row[first + c];
    } else {
      for (int64_t c = 0; c < size; ++c) sums[c] += weight * row[first + c];
    }
  }
  PCDET_HD void write(T* to) const {
    for (int64_t c = 0; c < size; ++c) to[first + c] = sums[c];
  }
};

// interpolated[point] = weighted sum over the point's sites, a block of channels to an item; -1
// stands for no site.
template <typename T>
struct Interpolate {
  const T* features;       // (M, C)
  const int64_t* nearest;  // (N, 3)
  const T* weights;        // (N, 3)
  int64_t channels;
  T* interpolated;  // (N, C)

  PCDET_HD void operator()(int64_t point, int64_t block) const {
    ChannelSums<T> sums(block, channels);
    for (int64_t slot = point * kNeighbours; slot < (point + 1) * kNeighbours; ++slot) {
      if (nearest[slot] >= 0) sums.add(weights[slot], features + nearest[slot] * channels);
    }
    sums.write(interpolated + point * channels);
  }
};

// The gradient of the features. Each site adds up its own points, in their order: no two threads
// share a sum, so the result is always the same on CUDA, too.
template <typename T>
struct InterpolateBackward {
  const T* grad;                  // (N, C)
  const int64_t *slots, *starts;  // (3 N,) sorted by site; (M + 1,) where those of each site begin
  const T* weights;               // (N, 3)
  int64_t channels;
  T* features_grad;  // (M, C)

  PCDET_HD void operator()(int64_t site, int64_t block) const {
    ChannelSums<T> sums(block, channels);
    for (int64_t i = starts[site]; i < starts[site + 1]; ++i) {
      sums.add(weights[slots[i]], grad + slots[i] / kNeighbours * channels);
    }
    sums.write(features_grad + site * channels);
  }
};

}  // namespace pcdet
