// The overlap and NMS operators' work items as CUDA kernels.
#include "../../common/for_each_cuda.cuh"
#include "iou3d_nms.h"

namespace pcdet {

#define INSTANTIATE_FOR_EACH(...) \
  template cudaError_t launch_for_each(int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE_FOR_EACH_PAIR(...) \
  template cudaError_t launch_for_each_pair(int64_t, int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE(T)                                  \
  INSTANTIATE_FOR_EACH(FootprintsFromBev<T>);           \
  INSTANTIATE_FOR_EACH(FootprintsFromBevUnturned<T>);   \
  INSTANTIATE_FOR_EACH(SolidsFromBoxes<T>);             \
  INSTANTIATE_FOR_EACH_PAIR(PairwiseOverlap<T>);        \
  INSTANTIATE_FOR_EACH_PAIR(PairwiseIou<T, Footprint>); \
  INSTANTIATE_FOR_EACH_PAIR(PairwiseIou<T, Solid>);     \
  INSTANTIATE_FOR_EACH_PAIR(SuppressionWords<T>)

INSTANTIATE(float);
INSTANTIATE(double);
template cudaError_t launch_for_each_by_team(int64_t, const GreedyChoice&, cudaStream_t);

}  // namespace pcdet
