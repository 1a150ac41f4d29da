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
using Site = std::array<int32_t, kSiteColumns>;

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
  // The pairs of an offset, the other way round, as those of the opposite one.
  void mirror(int64_t offset, int64_t opposite) const {
    counts[opposite] = counts[offset];
    std::copy_n(sources + offset * row, counts[offset], targets + opposite * row);
    std::copy_n(targets + offset * row, counts[offset], sources + opposite * row);
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

struct Voxel {
  int64_t key;
  int32_t index;
};

// Voxels in the order of their keys, and the rows along x that they make.
struct VoxelRows {
  struct Place {
    int32_t x, index;
  };
  struct Row {
    int64_t key;  // of its first cell, divided by the length of a row
    int64_t begin, end;
  };
  std::vector<Place> places;
  std::vector<Row> rows;
  int64_t twice;  // the first index of a voxel that is there a second time; their number if none is

  VoxelRows(const int32_t* sites, int64_t count, const VoxelGrid& grid) : twice(count) {
    std::vector<Voxel> voxels;
    voxels.reserve(count);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t* site = sites + i * kSiteColumns;
      voxels.push_back({grid.key(site[0], site[1], site[2], site[3]), int32_t(i)});
    }
    sort_by_key(voxels);
    places.reserve(count);
    const int64_t length = grid.shape[2];
    int64_t start = -length, last = -1;  // keys of a row's first cell, and of a voxel
    for (const auto [key, index] : voxels) {
      if (key == last) twice = std::min<int64_t>(twice, index);
      last = key;
      if (key >= start + length) {
        const int64_t row = divide(key, length).whole, begin = int64_t(places.size());
        start = row * length;
        rows.push_back({row, begin, begin});
      }
      places.push_back({int32_t(key - start), index});
      ++rows.back().end;
    }
  }
};

// The offsets of a row of the kernel along x.
struct OffsetRow {
  int64_t middle, move;  // the offset in the middle, and from a row of sources to its targets' key
  size_t at;             // where the last one was found

  // The row of a key, nullptr if there is none; keys ascend from call to call.
  const VoxelRows::Row* find(const std::vector<VoxelRows::Row>& rows, int64_t key) {
    while (at < rows.size() && rows[at].key < key) ++at;
    return at < rows.size() && rows[at].key == key ? &rows[at] : nullptr;
  }
};

// Pairs of an offset, of the voxels of a row as targets. `table` holds the source at each place
// along x, -1 for none. What is written for one without is overwritten, by the next pair or by the
// end of the list, in which there is room: some voxel has no source.
inline void pair_along_row(const VoxelRows::Place* places, int64_t count, const int32_t* table,
                           int64_t offset, const PairLists& pairs) {
  int32_t *sources = pairs.sources + offset * pairs.row,
          *targets = pairs.targets + offset * pairs.row;
  int32_t at = pairs.counts[offset];
  for (int64_t n = 0; n < count; ++n) {
    const int32_t source = table[places[n].x];
    sources[at] = source;
    targets[at] = places[n].index;
    at += source >= 0;
  }
  pairs.counts[offset] = at;
}

// Pairs of a submanifold convolution, whose outputs are the voxels themselves: the source lies at
// the offset from the target. Two voxels make two pairs, in the lists of opposite offsets; lists
// are in the order of the voxels' keys. Returns `count`, or the index of a voxel that is there a
// second time, and then lists nothing.
//
// Offsets before the center lead back. The voxels of a row are written into a table along x, in
// which those of the few rows that they are sources of look for theirs.
inline int64_t pair_neighbours(const int32_t* sites, int64_t count, const VoxelGrid& grid,
                               const Axes& kernel, const Axes& dilation, const PairLists& pairs) {
  // The steps of the kernel that stay within the grid along an axis. Beside the rows and the layers
  // of the padded grid is room for them, so that none leads to another row.
  Axes reach;
  VoxelGrid padded = grid;
  for (int axis = 0; axis < kAxes; ++axis) {
    reach[axis] = std::min(kernel[axis] / 2, (grid.shape[axis] - 1) / dilation[axis]);
    if (axis < 2) padded.shape[axis] += reach[axis] * dilation[axis];
  }
  const VoxelRows voxels(sites, count, padded);
  if (voxels.twice < count) return voxels.twice;

  const int64_t center = kernel[0] * kernel[1] * kernel[2] / 2;
  std::vector<OffsetRow> offset_rows;
  for (int64_t row = 0; row * kernel[2] <= center; ++row) {
    const int64_t z = kernel[0] / 2 - row / kernel[1], y = kernel[1] / 2 - row % kernel[1];
    if (std::abs(z) > reach[0] || std::abs(y) > reach[1]) continue;
    const int64_t move = z * dilation[0] * padded.shape[1] + y * dilation[1];
    offset_rows.push_back({row * kernel[2] + kernel[2] / 2, move, 0});
  }
  const int64_t margin = reach[2] * dilation[2];
  std::vector<int32_t> table(grid.shape[2] + 2 * margin, -1);
  for (const VoxelRows::Row& sources : voxels.rows) {
    for (int64_t n = sources.begin; n < sources.end; ++n) {
      table[voxels.places[n].x + margin] = voxels.places[n].index;
    }
    for (OffsetRow& row : offset_rows) {
      const VoxelRows::Row* targets = row.find(voxels.rows, sources.key + row.move);
      if (targets == nullptr) continue;
      for (int64_t x = -reach[2]; x <= reach[2] && row.middle + x < center; ++x) {
        pair_along_row(voxels.places.data() + targets->begin, targets->end - targets->begin,
                       table.data() + margin + x * dilation[2], row.middle + x, pairs);
      }
    }
    for (int64_t n = sources.begin; n < sources.end; ++n) {
      table[voxels.places[n].x + margin] = -1;
    }
  }
  for (const VoxelRows::Place& place : voxels.places) pairs.add(center, place.index, place.index);
  for (int64_t offset = 0; offset < center; ++offset) pairs.mirror(offset, 2 * center - offset);
  return count;
}

// A convolution with outputs wherever its kernel touches a voxel. Along an axis the offset k of an
// output reaches input = output * stride - padding + k * dilation.
struct StridedLayer {
  VoxelGrid in, out;
  Axes kernel, stride, padding, dilation;
};

// Which outputs the places along an axis contribute to.
struct ReachedOutputs {
  struct Output {
    int32_t offset, place;
  };
  std::vector<Output> outputs;
  std::vector<int64_t> ends{0};  // of those of each place

  ReachedOutputs(const StridedLayer& layer, int axis) {
    for (int64_t input = 0; input < layer.in.shape[axis]; ++input) {
      int64_t scaled = input + layer.padding[axis];
      for (int64_t k = 0; k < layer.kernel[axis] && scaled >= 0; ++k) {
        const auto [place, rest] = divide(scaled, layer.stride[axis]);
        if (rest == 0 && place < layer.out.shape[axis]) {
          outputs.push_back({int32_t(k), int32_t(place)});
        }
        scaled -= layer.dilation[axis];
      }
      ends.push_back(int64_t(outputs.size()));
    }
  }
  const Output* begin(int64_t input) const { return outputs.data() + ends[input]; }
  const Output* end(int64_t input) const { return outputs.data() + ends[input + 1]; }
};

// Which rows of outputs the rows of voxels touch, and where along x.
struct Touches {
  struct OfPlace {
    int32_t source, offset, place;
  };
  struct OfRow {
    int64_t key;  // of the row of outputs
    int32_t row, offset;
  };
  std::vector<OfPlace> places;   // of one row of voxels after the other
  std::vector<int64_t> ends{0};  // of those of each row
  std::vector<OfRow> rows;       // by key

  Touches(const VoxelRows& voxels, const StridedLayer& layer) {
    const ReachedOutputs along_z(layer, 0), along_y(layer, 1), along_x(layer, 2);
    places.reserve(2 * voxels.places.size());
    for (const VoxelRows::Row& row : voxels.rows) {
      const auto [floor, y] = divide(row.key, layer.in.shape[1]);
      const auto [batch, z] = divide(floor, layer.in.shape[0]);
      for (auto to_z = along_z.begin(z); to_z != along_z.end(z); ++to_z) {
        const int64_t out_floor = batch * layer.out.shape[0] + to_z->place;
        for (auto to_y = along_y.begin(y); to_y != along_y.end(y); ++to_y) {
          const int64_t offset = (to_z->offset * layer.kernel[1] + to_y->offset) * layer.kernel[2];
          rows.push_back({out_floor * layer.out.shape[1] + to_y->place, int32_t(ends.size() - 1),
                          int32_t(offset)});
        }
      }
      for (int64_t n = row.begin; n < row.end; ++n) {
        const auto [x, index] = voxels.places[n];
        for (auto to_x = along_x.begin(x); to_x != along_x.end(x); ++to_x) {
          places.push_back({index, to_x->offset, to_x->place});
        }
      }
      ends.push_back(int64_t(places.size()));
    }
    sort_by_key(rows);
  }
};

// Pairs of a strided layer. Appends its outputs to `out_sites`, in the order of their keys, in
// which the lists are, too. Returns as `pair_neighbours`.
//
// A row of outputs is made of the few rows of voxels that its kernel touches, by a bit for each
// place along x.
inline int64_t pair_with_outputs(const int32_t* sites, int64_t count, const StridedLayer& layer,
                                 const PairLists& pairs, std::vector<Site>& out_sites) {
  const VoxelRows voxels(sites, count, layer.in);
  if (voxels.twice < count) return voxels.twice;

  const Touches touches(voxels, layer);
  const int64_t length = layer.out.shape[2];
  std::vector<uint64_t> bits(length / 64 + 1, 0);
  std::vector<int32_t> numbers(length);  // of the outputs of a row
  const auto last_row = touches.rows.end();
  for (auto begin = touches.rows.begin(), end = begin; begin != last_row; begin = end) {
    int32_t first = int32_t(length), last = 0;
    for (; end != last_row && end->key == begin->key; ++end) {
      for (int64_t n = touches.ends[end->row]; n < touches.ends[end->row + 1]; ++n) {
        const int32_t place = touches.places[n].place;
        bits[place / 64] |= uint64_t(1) << place % 64;
        first = std::min(first, place);
        last = std::max(last, place);
      }
    }
    const auto [floor, y] = divide(begin->key, layer.out.shape[1]);
    const auto [batch, z] = divide(floor, layer.out.shape[0]);
    for (int32_t word = first / 64; word <= last / 64; ++word) {
      for (; bits[word] != 0; bits[word] &= bits[word] - 1) {
        const int32_t x = word * 64 + __builtin_ctzll(bits[word]);
        numbers[x] = int32_t(out_sites.size());
        out_sites.push_back({int32_t(batch), int32_t(z), int32_t(y), x});
      }
    }
    for (auto row = begin; row != end; ++row) {
      for (int64_t n = touches.ends[row->row]; n < touches.ends[row->row + 1]; ++n) {
        const auto [source, offset, place] = touches.places[n];
        pairs.add(row->offset + offset, source, numbers[place]);
      }
    }
  }
  return count;
}

}  // namespace pcdet
