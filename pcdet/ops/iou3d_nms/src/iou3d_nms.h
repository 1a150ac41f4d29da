// Work items of the overlap and NMS operators, for the CPU and CUDA alike.
#pragma once

#include <cstdint>

#include "../../common/box3d.h"

namespace pcdet {

// shapes[i] = the shape of box i, with its sine and cosine taken once.
template <typename T>
struct FootprintsFromBev {
  const T* boxes;  // (N, 5)
  Footprint<T>* shapes;

  PCDET_HD void operator()(int64_t i) const {
    shapes[i] = Footprint<T>::from_bev(boxes + i * kBevColumns);
  }
};

template <typename T>
struct FootprintsFromBevUnturned {
  const T* boxes;  // (N, 5), the turn is ignored
  Footprint<T>* shapes;

  PCDET_HD void operator()(int64_t i) const {
    shapes[i] = Footprint<T>::from_bev_unturned(boxes + i * kBevColumns);
  }
};

template <typename T>
struct SolidsFromBoxes {
  const T* boxes;  // (N, 7)
  Solid<T>* shapes;

  PCDET_HD void operator()(int64_t i) const {
    shapes[i] = Solid<T>::from_box3d(boxes + i * kBoxColumns);
  }
};

template <typename T>
struct PairwiseOverlap {
  const Footprint<T>*a, *b;
  int64_t columns;
  T* result;  // (N, M), square metres

  PCDET_HD void operator()(int64_t row, int64_t column) const {
    result[row * columns + column] = overlap_area(a[row], b[column]);
  }
};

template <typename T>
struct AlignedOverlap {
  const Footprint<T>*a, *b;
  T* result;  // (P,), square metres

  PCDET_HD void operator()(int64_t i) const { result[i] = overlap_area(a[i], b[i]); }
};

template <typename T, template <typename> class Shape>
struct PairwiseIou {
  const Shape<T>*a, *b;
  int64_t columns;
  T* result;  // (N, M)

  PCDET_HD void operator()(int64_t row, int64_t column) const {
    result[row * columns + column] = iou(a[row], b[column]);
  }
};

constexpr int64_t kBitsPerWord = 64;

// Bit k of word (i, w): box i suppresses the later box 64 * w + k. Words left of the diagonal are
// not written and must not be read.
template <typename T>
struct SuppressionWords {
  const Footprint<T>* shapes;  // (N,), best score first
  int64_t count, words_per_row;
  T threshold;
  uint64_t* words;  // (N, words_per_row)

  // The box is the second index: neighbouring CUDA threads then read the same 64 others.
  PCDET_HD void operator()(int64_t word, int64_t box) const {
    const int64_t begin = word * kBitsPerWord;
    const int64_t end = begin + kBitsPerWord < count ? begin + kBitsPerWord : count;
    if (end <= box + 1) {
      if (end > box) words[box * words_per_row + word] = 0;
      return;
    }
    uint64_t bits = 0;
    for (int64_t other = begin > box ? begin : box + 1; other < end; ++other) {
      if (iou_exceeds(shapes[box], shapes[other], threshold)) bits |= 1ULL << (other - begin);
    }
    words[box * words_per_row + word] = bits;
  }
};

}  // namespace pcdet
