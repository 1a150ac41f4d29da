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

// Boxes in strips along x, each strip ordered by x, to visit only those near another box.
template <typename T>
class Neighbourhood {
 public:
  Neighbourhood(const Footprint<T>* shapes, int64_t count) : index_(count) {
    lay_strips(shapes, count);
    std::vector<int64_t> strips(count);
    for (int64_t i = 0; i < count; ++i) strips[i] = strip_of(number(shapes[i].y));
    std::iota(index_.begin(), index_.end(), int64_t{0});
    std::sort(index_.begin(), index_.end(), [&](int64_t i, int64_t j) {
      if (strips[i] != strips[j]) return strips[i] < strips[j];
      const T x_i = number(shapes[i].x), x_j = number(shapes[j].x);
      return x_i < x_j || (x_i == x_j && i < j);
    });
    x_.reserve(count);
    shapes_.reserve(count);
    strip_begin_.assign(strip_count_ + 1, count);
    for (int64_t place = count - 1; place >= 0; --place)
      strip_begin_[strips[index_[place]]] = place;
    for (int64_t s = strip_count_ - 1; s >= 0; --s) {
      strip_begin_[s] = std::min(strip_begin_[s], strip_begin_[s + 1]);
    }
    for (const int64_t i : index_) {
      x_.push_back(number(shapes[i].x));
      shapes_.push_back(shapes[i]);
    }
  }

  // Calls visit(place) for each place whose box may have an IoU above `threshold` with `shape`.
  template <typename Visit>
  void visit_near(const Footprint<T>& shape, T threshold, const Visit& visit) const {
    // A line through the centre of a box halves it. So a box with more than half of its area in
    // `shape`, as any IoU above 0.5 wants, has its centre in there; below that it need only touch.
    const T beyond = threshold >= T(0.5) ? T(0) : largest_radius_;
    const T reach = (shape.radius + beyond) * T(1.001);
    if (!std::isfinite(shape.x) || !std::isfinite(shape.y) || !std::isfinite(reach)) return;
    const T low = shape.x - reach, high = shape.x + reach;
    for (int64_t s = strip_of(shape.y - reach); s <= strip_of(shape.y + reach); ++s) {
      const auto begin = x_.begin() + strip_begin_[s], end = x_.begin() + strip_begin_[s + 1];
      for (auto x = std::lower_bound(begin, end, low); x != end && *x <= high; ++x) {
        visit(x - x_.begin());
      }
    }
  }

  int64_t index(int64_t place) const { return index_[place]; }
  const Footprint<T>& shape(int64_t place) const { return shapes_[place]; }

 private:
  static constexpr int64_t kMaxStrips = 1024;

  // A box whose centre is not finite touches nothing, so that any place will do for it.
  static T number(T value) { return std::isfinite(value) ? value : T(0); }

  void lay_strips(const Footprint<T>* shapes, int64_t count) {
    T lowest = 0, highest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const T y = number(shapes[i].y);
      lowest = i == 0 ? y : std::min(lowest, y);
      highest = i == 0 ? y : std::max(highest, y);
      largest_radius_ = std::max(largest_radius_, number(shapes[i].radius));
    }
    const T extent = highest - lowest;
    strip_width_ = std::max(2 * largest_radius_, extent / kMaxStrips);
    first_y_ = lowest;
    if (!(strip_width_ > 0) || !std::isfinite(extent)) strip_width_ = T(1);
    strip_count_ = strip_of(highest) + 1;
  }

  // Never falls as y grows: strips between those of two ends hold all boxes between them.
  int64_t strip_of(T y) const {
    const T strip = std::floor((y - first_y_) / strip_width_);
    const T last = static_cast<T>(strip_count_ - 1);
    return static_cast<int64_t>(std::max(T(0), std::min(strip, last)));
  }

  std::vector<int64_t> index_;        // place -> index of the box
  std::vector<Footprint<T>> shapes_;  // by place
  std::vector<T> x_;                  // by place
  std::vector<int64_t> strip_begin_;  // first place of each strip, and the end
  int64_t strip_count_ = kMaxStrips + 1;
  T first_y_ = 0, strip_width_ = 1, largest_radius_ = 0;
};

// kept[i] tells whether no better kept box overlaps box i by more than `threshold`; all are false
// before. `shapes` holds the best score first.
template <typename T>
void greedy_nms(const Footprint<T>* shapes, int64_t count, T threshold, bool* kept) {
  const Neighbourhood<T> boxes(shapes, count);
  std::vector<uint8_t> settled(count, 0);  // by index: kept, suppressed or better than the present
  for (int64_t i = 0; i < count; ++i) {
    if (settled[i]) continue;
    settled[i] = 1;
    kept[i] = true;
    boxes.visit_near(shapes[i], threshold, [&](int64_t place) {
      uint8_t& other = settled[boxes.index(place)];
      if (!other && iou_exceeds(shapes[i], boxes.shape(place), threshold)) other = 1;
    });
  }
}

}  // namespace pcdet
