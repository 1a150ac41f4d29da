// Which voxels each offset of a sparse convolution's kernel brings together.
#pragma once

#include <array>
#include <cstdint>
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
  // The number of a key, -1 if it has none.
  int32_t find(int64_t key) const {
    const Slot& slot = slots_[place_of(key)];
    return slot.key == kFree ? -1 : slot.number;
  }
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
// the offset from the target. Two voxels make two pairs, in the lists of opposite offsets. Returns
// `count`, or the index of a voxel that is there a second time, and then lists nothing.
inline int64_t pair_neighbours(const int32_t* sites, int64_t count, const VoxelGrid& grid,
                               const Axes& kernel, const Axes& dilation, const PairLists& pairs) {
  KeyTable table(count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    if (table.find_or_add(grid.key(site[0], site[1], site[2], site[3])) != i) return i;
  }
  const int64_t offsets = kernel[0] * kernel[1] * kernel[2], center = offsets / 2;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* site = sites + i * kSiteColumns;
    const int32_t self = int32_t(i);
    for (int64_t k = 0; k < center; ++k) {
      const int64_t dz = k / (kernel[1] * kernel[2]) - kernel[0] / 2;
      const int64_t dy = k / kernel[2] % kernel[1] - kernel[1] / 2;
      const int64_t dx = k % kernel[2] - kernel[2] / 2;
      const int64_t z = site[1] + dz * dilation[0], y = site[2] + dy * dilation[1];
      const int64_t x = site[3] + dx * dilation[2];
      if (!grid.holds(z, y, x)) continue;
      const int32_t other = table.find(grid.key(site[0], z, y, x));
      if (other < 0) continue;
      pairs.add(k, other, self);
      pairs.add(offsets - 1 - k, self, other);
    }
    pairs.add(center, self, self);
  }
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
