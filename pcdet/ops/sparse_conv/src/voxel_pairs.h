// Which voxels each offset of a sparse convolution's kernel brings together.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace pcdet {

constexpr int kAxes = 3;         // z, y, x
constexpr int kSiteColumns = 4;  // batch index, z, y, x
using Axes = std::array<int64_t, kAxes>;

// Numbers keys, which are not negative, by their first appearance.
class KeyTable {
 public:
  explicit KeyTable(int64_t expected_keys) {
    while ((int64_t(1) << bits_) < 2 * expected_keys) ++bits_;
    slots_.assign(size_t(1) << bits_, Slot{kFree, 0});
  }

  int32_t size() const { return size_; }
  // The number of a key, a new one if it has none.
  int32_t find_or_add(int64_t key) {
    Slot& slot = slots_[place_of(key)];
    if (slot.key != kFree) return slot.number;
    slot = {key, size_++};
    const int32_t number = slot.number;
    if (2 * size_t(size_) > slots_.size()) grow();
    return number;
  }

 private:
  static constexpr int64_t kFree = -1;
  struct Slot {
    int64_t key;
    int32_t number;
  };

  // The slot that holds the key, or the free one that it would take.
  size_t place_of(int64_t key) const {
    // Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4).
    size_t place = (uint64_t(key) * 0x9E3779B97F4A7C15u) >> (64 - bits_);
    while (slots_[place].key != kFree && slots_[place].key != key) {
      place = (place + 1) & (slots_.size() - 1);
    }
    return place;
  }

  void grow() {
    std::vector<Slot> before(slots_.size() * 2, Slot{kFree, 0});
    before.swap(slots_);
    ++bits_;
    for (const Slot& slot : before) {
      if (slot.key != kFree) slots_[place_of(slot.key)] = slot;
    }
  }

  int bits_ = 4;
  int32_t size_ = 0;
  std::vector<Slot> slots_;
};

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
};

// Pairs of a submanifold convolution, whose outputs are the voxels themselves: the source lies at
// the offset from the target. Two voxels make two pairs, in the lists of opposite offsets; lists
// are in the order of the voxels. Returns `count`, or the index of a voxel that is there a second
// time, and then lists nothing.
//
// Voxels sorted by their key, the same voxels moved by an offset are sorted, too: one walk along
// both finds all pairs of the offset, several times as fast as looking up each in a table.
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
  struct Voxel {
    int64_t key;
    int32_t index;

    bool operator<(const Voxel& other) const {
      return key != other.key ? key < other.key : index < other.index;
    }
  };
  std::vector<Voxel> voxels;
  voxels.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    voxels.push_back({padded.key(site[0], site[1], site[2], site[3]), int32_t(i)});
  }
  std::sort(voxels.begin(), voxels.end());
  int64_t twice = count;
  for (int64_t n = 1; n < count; ++n) {
    if (voxels[n].key == voxels[n - 1].key) twice = std::min<int64_t>(twice, voxels[n].index);
  }
  if (twice < count) return twice;

  const int64_t offsets = kernel[0] * kernel[1] * kernel[2], center = offsets / 2;
  std::vector<int32_t> sources(count);
  for (int64_t k = 0; k < center; ++k) {
    const Axes steps = {k / (kernel[1] * kernel[2]) - kernel[0] / 2,
                        k / kernel[2] % kernel[1] - kernel[1] / 2, k % kernel[2] - kernel[2] / 2};
    bool within = true;
    for (int axis = 0; axis < kAxes; ++axis) {
      within = within && std::abs(steps[axis]) <= reach[axis];
    }
    if (!within) continue;
    // Negative, as all offsets before the center: the source comes before its target.
    const int64_t move =
        padded.key(0, steps[0] * dilation[0], steps[1] * dilation[1], steps[2] * dilation[2]);
    const Voxel* source = voxels.data();
    for (const Voxel& target : voxels) {
      while (source != &target && source->key < target.key + move) ++source;
      sources[target.index] = source->key == target.key + move ? source->index : -1;
    }
    for (int64_t i = 0; i < count; ++i) {
      if (sources[i] < 0) continue;
      pairs.add(k, sources[i], int32_t(i));
      pairs.add(offsets - 1 - k, int32_t(i), sources[i]);
    }
  }
  for (int64_t i = 0; i < count; ++i) pairs.add(center, int32_t(i), int32_t(i));
  return count;
}

// Pairs of a convolution with outputs wherever its kernel touches a voxel: appends them to
// `out_sites`, in the order of their first pair.
inline void pair_with_outputs(const int32_t* sites, int64_t count, const VoxelGrid& out,
                              const Axes& kernel, const Axes& stride, const Axes& padding,
                              const Axes& dilation, const PairLists& pairs,
                              std::vector<int32_t>& out_sites) {
  // Along an axis the offset k reaches input = output * stride - padding + k * dilation.
  struct Reach {
    int64_t offset, place;
  };
  std::array<std::vector<Reach>, kAxes> reached;
  KeyTable table(count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    for (int axis = 0; axis < kAxes; ++axis) {
      reached[axis].clear();
      for (int64_t k = 0; k < kernel[axis]; ++k) {
        const int64_t scaled = site[axis + 1] + padding[axis] - k * dilation[axis];
        if (scaled < 0 || scaled % stride[axis] != 0) continue;
        const int64_t place = scaled / stride[axis];
        if (place < out.shape[axis]) reached[axis].push_back({k, place});
      }
    }
    for (const Reach& z : reached[0]) {
      for (const Reach& y : reached[1]) {
        for (const Reach& x : reached[2]) {
          const int32_t known = table.size();
          const int64_t key = out.key(site[0], z.place, y.place, x.place);
          const int32_t target = table.find_or_add(key);
          if (target == known) {
            out_sites.insert(out_sites.end(),
                             {site[0], int32_t(z.place), int32_t(y.place), int32_t(x.place)});
          }
          pairs.add((z.offset * kernel[1] + y.offset) * kernel[2] + x.offset, int32_t(i), target);
        }
      }
    }
  }
}

}  // namespace pcdet
