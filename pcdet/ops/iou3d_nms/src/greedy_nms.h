// The greedy choice of non-maximum suppression on the CPU: keep the best box, drop what overlaps
// it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "iou3d_nms.h"

namespace pcdet {

// Boxes ordered by the centre's x, to visit only those near another along x.
template <typename T>
class OrderedByX {
 public:
  OrderedByX(const Footprint<T>* shapes, int64_t count) : index_(count), x_(count), radius_(0) {
    std::iota(index_.begin(), index_.end(), int64_t{0});
    // A box with a centre that is not a number overlaps nothing: any place will do, but one and the
    // same, or the order would not be one.
    const auto key = [&](int64_t i) { return std::isnan(shapes[i].x) ? T(0) : shapes[i].x; };
    std::sort(index_.begin(), index_.end(),
              [&](int64_t i, int64_t j) { return key(i) < key(j) || (key(i) == key(j) && i < j); });
    shapes_.reserve(count);
    for (int64_t k = 0; k < count; ++k) {
      shapes_.push_back(shapes[index_[k]]);
      x_[k] = key(index_[k]);
      if (std::isfinite(shapes_[k].radius)) radius_ = std::max(radius_, shapes_[k].radius);
    }
  }

  // Calls visit(k) for each place k whose box may touch `shape`.
  template <typename Visit>
  void visit_near(const Footprint<T>& shape, const Visit& visit) const {
    const T reach = (shape.radius + radius_) * T(1.001);
    const auto begin = std::lower_bound(x_.begin(), x_.end(), shape.x - reach);
    for (int64_t k = begin - x_.begin(); k < int64_t(x_.size()) && x_[k] <= shape.x + reach; ++k) {
      visit(k);
    }
  }

  int64_t index(int64_t place) const { return index_[place]; }
  const Footprint<T>& shape(int64_t place) const { return shapes_[place]; }

 private:
  std::vector<int64_t> index_;        // place -> index of the box
  std::vector<Footprint<T>> shapes_;  // by place
  std::vector<T> x_;                  // by place
  T radius_;                          // the largest
};

// Indices of the boxes that no better kept box overlaps by more than `threshold`, best first.
// `shapes` holds the best score first.
template <typename T>
std::vector<int64_t> greedy_nms(const Footprint<T>* shapes, int64_t count, T threshold) {
  const OrderedByX<T> ordered(shapes, count);
  std::vector<uint8_t> suppressed(count, 0);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) {
    if (suppressed[i]) continue;
    kept.push_back(i);
    ordered.visit_near(shapes[i], [&](int64_t place) {
      const int64_t other = ordered.index(place);
      if (other > i && !suppressed[other] &&
          iou_exceeds(shapes[i], ordered.shape(place), threshold)) {
        suppressed[other] = 1;
      }
    });
  }
  return kept;
}

// The same choice from the words of SuppressionWords.
inline std::vector<int64_t> kept_by_words(const uint64_t* words, int64_t count,
                                          int64_t words_per_row) {
  std::vector<uint64_t> suppressed(words_per_row, 0);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t own_word = i / kBitsPerWord;
    if (suppressed[own_word] >> (i % kBitsPerWord) & 1) continue;
    kept.push_back(i);
    for (int64_t w = own_word; w < words_per_row; ++w)
      suppressed[w] |= words[i * words_per_row + w];
  }
  return kept;
}

}  // namespace pcdet
