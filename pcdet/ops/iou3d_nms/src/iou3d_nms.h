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

// The greedy choice from the words of SuppressionWords, one item for all boxes: from the best box
// on, a box is kept unless one kept before suppresses it.
//
// 64 boxes at a time, in three steps: the team fetches what these do to each other; one thread
// decides on them, one after another; the team marks what the kept ones do to later boxes, which
// is read after the team has met again.
struct GreedyChoice {
  const uint64_t* words;  // (N, words_per_row)
  int64_t count, words_per_row;
  uint64_t* suppressed;  // (words_per_row,) in: 0; out: bit k of word w, box 64 * w + k is dropped
  bool* kept;            // (N,) out

  struct Scratch {
    uint64_t among[kBitsPerWord];  // the word of each of the 64 boxes in which they stand
  };

  PCDET_HD void operator()(int64_t, const Team& team, Scratch& scratch) const {
    for (int64_t word = 0; word < words_per_row; ++word) {
      const int64_t begin = word * kBitsPerWord;
      const int64_t size = begin + kBitsPerWord < count ? kBitsPerWord : count - begin;
      for (int64_t k = team.rank; k < size; k += team.size) {
        scratch.among[k] = words[(begin + k) * words_per_row + word];
      }
      team.meet();
      if (team.rank == 0) suppressed[word] = settle(suppressed[word], size, scratch.among);
      team.meet();
      const uint64_t dropped = suppressed[word];
      for (int64_t k = team.rank; k < size; k += team.size) kept[begin + k] = !(dropped >> k & 1);
      for (int64_t later = word + 1 + team.rank; later < words_per_row; later += team.size) {
        suppressed[later] |= marks(dropped, begin, size, later);
      }
    }
  }

 private:
  // The dropped ones of 64 boxes, of which better boxes suppress those in `dropped`.
  static PCDET_HD uint64_t settle(uint64_t dropped, int64_t size, const uint64_t* among) {
    for (int64_t k = 0; k < size; ++k) {
      if (!(dropped >> k & 1)) dropped |= among[k];
    }
    return dropped;
  }

  // What the boxes from `begin` on that are not dropped suppress in another word.
  PCDET_HD uint64_t marks(uint64_t dropped, int64_t begin, int64_t size, int64_t word) const {
    uint64_t bits = 0;
    for (int64_t k = 0; k < size; ++k) {
      if (!(dropped >> k & 1)) bits |= words[(begin + k) * words_per_row + word];
    }
    return bits;
  }
};

}  // namespace pcdet
