// Which voxels each offset of a sparse convolution's kernel brings together.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace pcdet {

constexpr int kAxes = 3;         // z, y, x
constexpr int kSiteColumns = 4;  // batch index, z, y, x
using Axes = std::array<int64_t, kAxes>;

struct Quotient {
  int64_t whole, rest;
};

// Of numbers that are not negative. Many processors divide 32 bits several times as fast as 64.
inline Quotient divide(int64_t number, int64_t by) {
  if ((number | by) >> 32 == 0)
    return {uint32_t(number) / uint32_t(by), uint32_t(number) % uint32_t(by)};
  return {number / by, number % by};
}

// Sorts items by `key`, which is not negative, and keeps the order of those with the same: by
// digits of 11 bits, the lowest first (Knuth, The Art of Computer Programming, volume 3,
// section 5.2.5).
template <typename Item>
void sort_by_key(std::vector<Item>& items) {
  constexpr int kBits = 11;
  const auto ascends = [](const Item& a, const Item& b) { return a.key < b.key; };
  if (std::is_sorted(items.begin(), items.end(), ascends)) return;
  const int64_t largest = std::max_element(items.begin(), items.end(), ascends)->key;
  std::vector<Item> sorted(items.size());
  for (int shift = 0; shift < 63 && largest >> shift != 0; shift += kBits) {
    const auto digit = [shift](const Item& item) {
      return size_t(item.key >> shift) & ((size_t(1) << kBits) - 1);
    };
    std::array<size_t, (size_t(1) << kBits) + 1> places{};
    for (const Item& item : items) ++places[digit(item) + 1];
    std::partial_sum(places.begin(), places.end(), places.begin());
    for (const Item& item : items) sorted[places[digit(item)]++] = item;
    items.swap(sorted);
  }
}

// The lists of pairs, one row for each offset; `counts` of each row are filled.
struct PairLists {
  int32_t *sources, *targets, *counts;
  int64_t row;

  void add(int64_t offset, int32_t source, int32_t target) const {
    const int64_t at = offset * row + counts[offset]++;
    sources[at] = source;
    targets[at] = target;
  }
};

// A grid of voxels and its numbering.
struct VoxelGrid {
  Axes shape;

  bool holds(int64_t z, int64_t y, int64_t x) const {
    return z >= 0 && z < shape[0] && y >= 0 && y < shape[1] && x >= 0 && x < shape[2];
  }
  int64_t key(int64_t batch, int64_t z, int64_t y, int64_t x) const {
    return ((batch * shape[0] + z) * shape[1] + y) * shape[2] + x;
  }
  std::array<int32_t, kSiteColumns> site(int64_t key) const {
    const auto [row, x] = divide(key, shape[2]);
    const auto [layer, y] = divide(row, shape[1]);
    const auto [batch, z] = divide(layer, shape[0]);
    return {int32_t(batch), int32_t(z), int32_t(y), int32_t(x)};
  }
};

struct Voxel {
  int64_t key;
  int32_t index;
};

// The offsets before `center` of a row of the kernel along x: the first, and how many steps from
// the middle of the row stay within the grid.
struct OffsetRow {
  int64_t first, center, reach;
};

// Pairs of a row of offsets, of sorted voxels; `move` leads to the middle of the row. A key that is
// looked for is less than its target's, as all offsets before the center lead back.
inline void pair_along_row(const std::vector<Voxel>& voxels, const OffsetRow& row, int64_t size,
                           int64_t move, int64_t dilation, const PairLists& pairs) {
  const int64_t begin = std::max<int64_t>(0, size / 2 - row.reach);
  const int64_t end = std::min(size - begin, row.center - row.first);
  const Voxel* first = voxels.data();
  for (const Voxel& target : voxels) {
    const Voxel* source = first;
    for (int64_t x = begin; x < end; ++x) {
      const int64_t wanted = target.key + move + (x - size / 2) * dilation;
      while (source->key < wanted) ++source;
      if (x == begin) first = source;
      if (source->key != wanted) continue;
      pairs.add(row.first + x, source->index, target.index);
      pairs.add(2 * row.center - row.first - x, target.index, source->index);
    }
  }
}

// Pairs of a submanifold convolution, whose outputs are the voxels themselves: the source lies at
// the offset from the target. Two voxels make two pairs, in the lists of opposite offsets; lists
// are in the order of the voxels' keys. Returns `count`, or the index of a voxel that is there a
// second time, and then lists nothing.
//
// Voxels sorted by their key, the same voxels moved by an offset are sorted, too: one walk along
// both finds all pairs of a row of offsets, several times as fast as looking up each in a table.
inline int64_t pair_neighbours(const int32_t* sites, int64_t count, const VoxelGrid& grid,
                               const Axes& kernel, const Axes& dilation, const PairLists& pairs) {
  // The steps of the kernel that stay within the grid along an axis. Behind each row of the padded
  // grid is room for them, so that none reaches a voxel of another row.
  Axes reach;
  VoxelGrid padded;
  for (int axis = 0; axis < kAxes; ++axis) {
    reach[axis] = std::min(kernel[axis] / 2, (grid.shape[axis] - 1) / dilation[axis]);
    padded.shape[axis] = grid.shape[axis] + reach[axis] * dilation[axis];
  }
  std::vector<Voxel> voxels;
  voxels.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    voxels.push_back({padded.key(site[0], site[1], site[2], site[3]), int32_t(i)});
  }
  sort_by_key(voxels);
  int64_t twice = count;
  for (int64_t n = 1; n < count; ++n) {
    if (voxels[n].key == voxels[n - 1].key) twice = std::min<int64_t>(twice, voxels[n].index);
  }
  if (twice < count) return twice;

  const int64_t center = kernel[0] * kernel[1] * kernel[2] / 2;
  for (int64_t row = 0; row * kernel[2] < center; ++row) {
    const Axes steps = {row / kernel[1] - kernel[0] / 2, row % kernel[1] - kernel[1] / 2, 0};
    if (std::abs(steps[0]) > reach[0] || std::abs(steps[1]) > reach[1]) continue;
    const int64_t move = padded.key(0, steps[0] * dilation[0], steps[1] * dilation[1], 0);
    pair_along_row(voxels, {row * kernel[2], center, reach[2]}, kernel[2], move, dilation[2],
                   pairs);
  }
  for (const Voxel& voxel : voxels) pairs.add(center, voxel.index, voxel.index);
  return count;
}

// Pairs of a convolution with outputs wherever its kernel touches a voxel: appends them to
// `out_sites`, in the order of their keys, in which the lists are, too.
inline void pair_with_outputs(const int32_t* sites, int64_t count, const VoxelGrid& out,
                              const Axes& kernel, const Axes& stride, const Axes& padding,
                              const Axes& dilation, const PairLists& pairs,
                              std::vector<int32_t>& out_sites) {
  // Along an axis the offset k reaches input = output * stride - padding + k * dilation.
  struct Reach {
    int64_t offset, place;
  };
  struct Touch {  // of an output by a voxel
    int64_t key;
    int32_t source, offset;
  };
  std::array<std::vector<Reach>, kAxes> reached;
  std::vector<Touch> touches;
  touches.reserve(4 * count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    for (int axis = 0; axis < kAxes; ++axis) {
      reached[axis].clear();
      for (int64_t k = 0; k < kernel[axis]; ++k) {
        const int64_t scaled = site[axis + 1] + padding[axis] - k * dilation[axis];
        if (scaled < 0) continue;
        const auto [place, rest] = divide(scaled, stride[axis]);
        if (rest == 0 && place < out.shape[axis]) reached[axis].push_back({k, place});
      }
    }
    for (const Reach& z : reached[0]) {
      for (const Reach& y : reached[1]) {
        for (const Reach& x : reached[2]) {
          const int64_t offset = (z.offset * kernel[1] + y.offset) * kernel[2] + x.offset;
          touches.push_back(
              {out.key(site[0], z.place, y.place, x.place), int32_t(i), int32_t(offset)});
        }
      }
    }
  }
  sort_by_key(touches);
  int64_t last = -1;
  int32_t target = -1;
  for (const Touch& touch : touches) {
    if (touch.key != last) {
      const auto [batch, z, y, x] = out.site(last = touch.key);
      out_sites.insert(out_sites.end(), {batch, z, y, x});
      ++target;
    }
    pairs.add(touch.offset, touch.source, target);
  }
}

}  // namespace pcdet
