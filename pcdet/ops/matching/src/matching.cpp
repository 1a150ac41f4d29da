// What the evaluation calls by plain C functions, so that it need not wait for torch to load.
// matching_utils.py tells the shapes, and checks all arguments before.
#include "matching.h"

#include "../../common/box3d.h"

extern "C" {

void pcdet_aligned_overlap_bev(const double* a, const double* b, int64_t count, double* overlap) {
  using Shape = pcdet::Footprint<double>;
  for (int64_t i = 0; i < count; ++i) {
    overlap[i] = pcdet::overlap_area(Shape::from_bev(a + i * pcdet::kBevColumns),
                                     Shape::from_bev(b + i * pcdet::kBevColumns));
  }
}

int64_t pcdet_matched_scores(const int64_t* starts, const int64_t* det, const bool* gt_valid,
                             const int8_t* det_state, const double* score, int64_t gts,
                             uint8_t* taken, double* found) {
  return pcdet::matched_scores({starts, det, gt_valid, det_state, score, gts}, taken, found);
}

void pcdet_matched_counts(const int64_t* starts, const int64_t* det, const bool* gt_valid,
                          const int8_t* det_state, const double* score, int64_t gts,
                          const double* overlap, const double* similarity, const bool* punished,
                          const double* thresholds, int64_t num_thresholds, int64_t* taken,
                          double* counts) {
  pcdet::matched_counts({starts, det, gt_valid, det_state, score, gts}, overlap, similarity,
                        punished, thresholds, num_thresholds, taken, counts);
}

}  // extern "C"
