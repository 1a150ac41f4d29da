// The work items of the three nearest sites and of their interpolation as CUDA kernels.
#include "../../common/for_each_cuda.cuh"
#include "three_interpolate.h"
#include "three_nn.h"

namespace pcdet {

#define INSTANTIATE_FOR_EACH(...) \
  template cudaError_t launch_for_each(int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE_FOR_EACH_PAIR(...) \
  template cudaError_t launch_for_each_pair(int64_t, int64_t, const __VA_ARGS__&, cudaStream_t)
#define INSTANTIATE(T)                       \
  INSTANTIATE_FOR_EACH(CellsOfSites<T>);     \
  INSTANTIATE_FOR_EACH(ThreeNearest<T>);     \
  INSTANTIATE_FOR_EACH_PAIR(Interpolate<T>); \
  INSTANTIATE_FOR_EACH_PAIR(InterpolateBackward<T>)

INSTANTIATE_FOR_EACH(StartsOfKeys);
INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace pcdet
