// What the evaluation calls by plain C functions, so that it need not wait for torch to load.
// matching_utils.py tells the shapes, and checks all arguments before.
#include "matching.h"

#include <algorithm>

#include "../../common/box3d.h"

extern "C" {

void pcdet_aligned_overlap_bev(const double* a, const double* b, int64_t count, double* overlap) {
  using Shape = pcdet::Footprint<double>;
  for (int64_t i = 0; i < count; ++i) {
    overlap[i] = pcdet::overlap_area(Shape::from_bev(a + i * pcdet::kBevColumns),
                                     Shape::from_bev(b + i * pcdet::kBevColumns));
  }
}

// Returns how many scores it wrote; there is room for all G.
int64_t pcdet_matched_scores(const int64_t* starts, const int64_t* det, const bool* gt_valid,
                             const int8_t* det_state, const double* score, int64_t gts,
                             int64_t dets, double* found) {
  const auto scores = pcdet::matched_scores({starts, det, gt_valid, det_state, score, gts, dets});
  std::copy(scores.begin(), scores.end(), found);
  return scores.size();
}

void pcdet_matched_counts(const int64_t* starts, const int64_t* det, const bool* gt_valid,
                          const int8_t* det_state, const double* score, int64_t gts, int64_t dets,
                          const double* overlap, const double* similarity, const bool* punished,
                          const double* thresholds, int64_t num_thresholds, double* counts) {
  pcdet::matched_counts({starts, det, gt_valid, det_state, score, gts, dets}, overlap, similarity,
                        punished, thresholds, num_thresholds, counts);
}

}  // extern "C"
