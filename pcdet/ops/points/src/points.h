// What is asked of each point of a scan, in float32 throughout.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pcdet {

struct VoxelGrid {
  const float* voxel_size;   // (3,) along x, y, z
  const float* minimum;      // (3,) x, y, z
  const int64_t* grid_size;  // (3,) voxels along x, y, z
  int64_t max_points, max_voxels;
};

// Finds the number of an occupied voxel by an open-addressing hash table: a dense table of the grid
// would have 90 million cells for SECOND, of which a frame occupies some 15 thousand.
class VoxelTable {
 public:
  // `table` has `size` entries, all -1; `size` is a power of two, above the number of voxels.
  VoxelTable(int32_t* table, int64_t size, int64_t* keys)
      : table_(table), mask_(size - 1), keys_(keys) {}

  // The entry of a key: the number of its voxel, or -1 where it may be written.
  int32_t& find(int64_t key) {
    // The golden ratio spreads neighbouring keys; the high bits are the well mixed ones.
    int64_t entry = (static_cast<uint64_t>(key) * 0x9E3779B1u >> 16) & mask_;
    while (table_[entry] >= 0 && keys_[table_[entry]] != key) entry = (entry + 1) & mask_;
    return table_[entry];
  }

 private:
  int32_t* table_;
  int64_t mask_;
  int64_t* keys_;
};

// Gives points (count, columns) their voxels, numbered in the order of their first points, and
// returns how many voxels there are. slots[i] = voxel * max_points + place of point i in its voxel,
// -1 for a point that is left out. `num_points` (max_voxels,) is 0 before, `table` is as VoxelTable
// tells, `keys` (max_voxels,) is room to work in; coordinates (max_voxels, 3) are z, y, x.
inline int64_t assign_voxels(const float* points, int64_t count, int64_t columns,
                             const VoxelGrid& grid, int32_t* table, int64_t table_size,
                             int64_t* keys, int64_t* slots, int32_t* coordinates,
                             int32_t* num_points) {
  VoxelTable numbers(table, table_size, keys);
  int64_t num_voxels = 0;
  for (int64_t i = 0; i < count; ++i, points += columns) {
    slots[i] = -1;
    // Compared before the cast, so that NaN and far points fall out too; what is not negative the
    // cast rounds down.
    int64_t cell[3];
    bool inside = true;
    for (int axis = 0; axis < 3; ++axis) {
      const float place = (points[axis] - grid.minimum[axis]) / grid.voxel_size[axis];
      inside &= place >= 0 && place < static_cast<float>(grid.grid_size[axis]);
      cell[axis] = inside ? static_cast<int64_t>(place) : 0;
    }
    if (!inside) continue;
    const int64_t key = (cell[2] * grid.grid_size[1] + cell[1]) * grid.grid_size[0] + cell[0];
    int32_t& voxel = numbers.find(key);
    if (voxel < 0) {
      if (num_voxels == grid.max_voxels) continue;
      voxel = num_voxels;
      keys[num_voxels] = key;
      for (int axis = 0; axis < 3; ++axis) coordinates[num_voxels * 3 + axis] = cell[2 - axis];
      ++num_voxels;
    }
    if (num_points[voxel] < grid.max_points) {
      slots[i] = voxel * grid.max_points + num_points[voxel]++;
    }
  }
  return num_voxels;
}

// Copies points to their rows of `voxels` (num_voxels, max_points, columns); the others become 0.
inline void fill_voxels(const float* points, int64_t count, int64_t columns, const int64_t* slots,
                        const int32_t* num_points, int64_t num_voxels, int64_t max_points,
                        float* voxels) {
  for (int64_t v = 0; v < num_voxels; ++v) {
    float* voxel = voxels + v * max_points * columns;
    std::fill(voxel + num_points[v] * columns, voxel + max_points * columns, 0.0F);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (slots[i] < 0) continue;
    std::copy_n(points + i * columns, columns, voxels + slots[i] * columns);
  }
}

// Which points of the LiDAR frame (count, columns) an image of (height, width) pixels shows, by the
// matrices `to_rect` (4, 3), for rows, and `p2` (3, 4), for columns. Pixels are divided by the
// depth in the rectified frame, as Calibration.rect_to_img does.
inline void points_in_view(const float* points, int64_t count, int64_t columns,
                           const float* to_rect, const float* p2, const float* image_shape,
                           bool* seen) {
  for (int64_t i = 0; i < count; ++i, points += columns) {
    float rect[3];
    for (int axis = 0; axis < 3; ++axis) {
      rect[axis] = points[0] * to_rect[axis] + points[1] * to_rect[3 + axis] +
                   points[2] * to_rect[6 + axis] + to_rect[9 + axis];
    }
    float projected[3];
    for (int axis = 0; axis < 3; ++axis) {
      const float* row = p2 + axis * 4;
      projected[axis] = rect[0] * row[0] + rect[1] * row[1] + rect[2] * row[2] + row[3];
    }
    const float u = projected[0] / rect[2], v = projected[1] / rect[2];
    const float depth = projected[2] - p2[11];
    seen[i] = u >= 0 && u < image_shape[1] && v >= 0 && v < image_shape[0] && depth >= 0;
  }
}

}  // namespace pcdet
