// The plain C functions of points_utils.py, which tells the shapes and checks all arguments before.
#include "points.h"

extern "C" {

int64_t pcdet_assign_voxels(const float* points, int64_t count, int64_t columns,
                            const float* voxel_size, const float* minimum, const int64_t* grid_size,
                            int64_t max_points, int64_t max_voxels, int32_t* table,
                            int64_t table_size, int64_t* keys, int64_t* slots, int32_t* coordinates,
                            int32_t* num_points) {
  return pcdet::assign_voxels(points, count, columns,
                              {voxel_size, minimum, grid_size, max_points, max_voxels}, table,
                              table_size, keys, slots, coordinates, num_points);
}

void pcdet_fill_voxels(const float* points, int64_t count, int64_t columns, const int64_t* slots,
                       const int32_t* num_points, int64_t num_voxels, int64_t max_points,
                       float* voxels) {
  pcdet::fill_voxels(points, count, columns, slots, num_points, num_voxels, max_points, voxels);
}

void pcdet_points_in_view(const float* points, int64_t count, int64_t columns, const float* to_rect,
                          const float* p2, const float* image_shape, bool* seen) {
  pcdet::points_in_view(points, count, columns, to_rect, p2, image_shape, seen);
}

}  // extern "C"
