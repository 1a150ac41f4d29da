// The work items of points in boxes and of RoI-aware pooling as CUDA kernels.
#include "../../common/for_each_cuda.cuh"
#include "points_in_boxes.h"
#include "roiaware_pool3d.h"

namespace pcdet {

#define INSTANTIATE_FOR_EACH(...) \
  template cudaError_t launch_for_each(int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE_FOR_EACH_PAIR(...) \
  template cudaError_t launch_for_each_pair(int64_t, int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE_FOR_EACH_BY_TEAM(...) \
  template cudaError_t launch_for_each_by_team(int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE(T)                            \
  INSTANTIATE_FOR_EACH(InteriorsFromBoxes<T>);    \
  INSTANTIATE_FOR_EACH(PointsInBoxes<T>);         \
  INSTANTIATE_FOR_EACH_BY_TEAM(ListRoiPoints<T>); \
  INSTANTIATE_FOR_EACH_PAIR(FirstBoxOfPoint<T>);  \
  INSTANTIATE_FOR_EACH_PAIR(MaxPool<T>);          \
  INSTANTIATE_FOR_EACH_PAIR(MaxPoolBackward<T>);  \
  INSTANTIATE_FOR_EACH_PAIR(AveragePool<T>);      \
  INSTANTIATE_FOR_EACH_PAIR(AveragePoolBackward<T>)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace pcdet
