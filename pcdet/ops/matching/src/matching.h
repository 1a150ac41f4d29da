// The matching of KITTI's official program: each ground truth in turn takes one of the detections
// that overlap it enough and that none before has taken. One depends on the other, so it is for one
// thread of the CPU.
#pragma once

#include <cstdint>

namespace pcdet {

// What a detection is for a class and level: one that is ignored may be taken, and is then no hit.
constexpr int8_t kAbsent = -1, kNormal = 0;

struct Matching {
  const int64_t* starts;  // (G + 1,), ground truth g has the candidates [starts[g], starts[g + 1])
  const int64_t* det;     // (K,), the detection of each candidate
  const bool* gt_valid;   // (G,)
  const int8_t* det_state;  // (D,), kAbsent, kNormal or another number for ignored
  const double* score;      // (D,)
  int64_t gts;
};

// Writes the scores of the hits when every ground truth takes its best-scored detection, and
// returns how many there are. `taken` (D,) is 0 before, `found` has room for all G.
inline int64_t matched_scores(const Matching& matching, uint8_t* taken, double* found) {
  constexpr double kLowestScore = -1.0e7;  // the official program takes none of this score or less
  int64_t hits = 0;
  for (int64_t g = 0; g < matching.gts; ++g) {
    int64_t best = -1;
    double best_score = kLowestScore;
    for (int64_t k = matching.starts[g]; k < matching.starts[g + 1]; ++k) {
      const int64_t d = matching.det[k];
      if (matching.det_state[d] == kAbsent || taken[d] || !(matching.score[d] > best_score)) {
        continue;
      }
      best = d;
      best_score = matching.score[d];
    }
    if (best < 0) continue;
    taken[best] = 1;
    if (matching.gt_valid[g] && matching.det_state[best] == kNormal) found[hits++] = best_score;
  }
  return hits;
}

constexpr int64_t kCounts = 3;

// counts[t] = hits at score threshold t, punished detections that were taken, and the similarity of
// the hits in all, when ground truth takes what it overlaps most; all are 0 before. `taken` (D,) is
// -1 before, and then the last threshold at which a detection was taken.
inline void matched_counts(const Matching& matching, const double* overlap,
                           const double* similarity, const bool* punished, const double* thresholds,
                           int64_t num_thresholds, int64_t* taken, double* counts) {
  for (int64_t t = 0; t < num_thresholds; ++t, counts += kCounts) {
    for (int64_t g = 0; g < matching.gts; ++g) {
      int64_t best = -1;
      bool best_is_normal = false;
      for (int64_t k = matching.starts[g]; k < matching.starts[g + 1]; ++k) {
        const int64_t d = matching.det[k];
        const int8_t state = matching.det_state[d];
        if (state == kAbsent || taken[d] == t || matching.score[d] < thresholds[t]) continue;
        const bool is_normal = state == kNormal;
        // Of those that are ignored the first is as good as any.
        const bool is_better = is_normal ? !best_is_normal || overlap[k] > overlap[best] : best < 0;
        if (!is_better) continue;
        best = k;
        best_is_normal = is_normal;
      }
      if (best < 0) continue;
      const int64_t d = matching.det[best];
      taken[d] = t;
      counts[1] += punished[d];
      if (matching.gt_valid[g] && best_is_normal) {
        counts[0] += 1;
        counts[2] += similarity[best];
      }
    }
  }
}

}  // namespace pcdet
