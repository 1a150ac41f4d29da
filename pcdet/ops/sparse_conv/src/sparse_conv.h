// The arithmetic of a sparse convolution on the CPU, one offset of the kernel at a time.
//
// The sums of a few pairs or a few weights stay in vector registers while the other dimension
// passes by; rows are read where they lie, so nothing is gathered or scattered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

// Every function that takes or returns a vector is inlined, so no calling convention matters.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace pcdet {

// The voxels that one offset of the kernel brings together; no source and no target twice.
struct OffsetPairs {
  const int32_t *sources, *targets;
  int64_t count;
};

// Shape of one offset's products: what goes in and what comes out.
struct Channels {
  int64_t in, out;
};

// `kBytes` bytes of numbers that the compiler keeps in one register.
template <typename T, int kBytes>
struct Lanes {
  typedef T Vector __attribute__((vector_size(kBytes)));
  static constexpr int kCount = kBytes / sizeof(T);
};

// How many sums are kept at a time: with the vectors that they are made from they fill the 16
// registers of AVX2, and the 32 of AVX-512 (64 bytes each). Of a product so many pairs and vectors
// of columns, of a weight's gradient so many rows and vectors.
template <int kBytes>
constexpr int kSumPairs = kBytes == 64 ? 6 : 4;
template <int kBytes>
constexpr int kSumVectors = kBytes == 64 ? 4 : 2;
template <int kBytes>
constexpr int kOuterRows = kBytes == 64 ? 8 : 4;
constexpr int kOuterVectors = 2;

// Inlined into a function for a newer processor, the code is compiled for that processor.
#define PCDET_INLINE static inline __attribute__((always_inline))

// Asks for a row before it is needed: rows lie anywhere, so the processor cannot foresee them.
template <typename T>
PCDET_INLINE void prefetch(const T* row, int64_t size) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < size; i += kLine) __builtin_prefetch(row + i);
}

template <typename Vector, typename T>
PCDET_INLINE Vector load(const T* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// target += source * weight for `kPairs` pairs and the `kVectors` vectors of columns that begin at
// `targets` and `weight`.
template <typename T, int kBytes, int kPairs, int kVectors>
PCDET_INLINE void multiply_columns(const T* const* sources, T* const* targets, const T* weight,
                                   Channels channels) {
  using Vector = typename Lanes<T, kBytes>::Vector;
  constexpr int kLanes = Lanes<T, kBytes>::kCount;
  Vector sums[kPairs][kVectors];
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[p][v] = load<Vector>(targets[p] + v * kLanes);
  }
  for (int64_t c = 0; c < channels.in; ++c) {
    Vector row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      row[v] = load<Vector>(weight + c * channels.out + v * kLanes);
#pragma GCC unroll 8
    for (int p = 0; p < kPairs; ++p) {
      const T factor = sources[p][c];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[p][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) std::memcpy(targets[p] + v * kLanes, &sums[p][v], kBytes);
  }
}

// The columns of `kPairs` pairs from `o` on, in groups of `kVectors` vectors, and what these leave
// in smaller and smaller ones, down to a single number.
template <typename T, int kBytes, int kPairs, int kVectors>
PCDET_INLINE void multiply_pairs(const T* const* sources, T* const* targets, const T* weight,
                                 Channels channels, int64_t o = 0) {
  constexpr int64_t kColumns = kVectors * Lanes<T, kBytes>::kCount;
  for (; o + kColumns <= channels.out; o += kColumns) {
    T* columns[kPairs];
    for (int p = 0; p < kPairs; ++p) columns[p] = targets[p] + o;
    multiply_columns<T, kBytes, kPairs, kVectors>(sources, columns, weight + o, channels);
  }
  if constexpr (kVectors > 1) {
    multiply_pairs<T, kBytes, kPairs, kVectors / 2>(sources, targets, weight, channels, o);
  } else if constexpr (kColumns > 1) {
    multiply_pairs<T, kBytes / 2, kPairs, 1>(sources, targets, weight, channels, o);
  }
}

// The pairs from `i` on, `kPairs` at a time; those that are left one by one.
template <typename T, int kBytes, int kPairs>
PCDET_INLINE void add_products(const OffsetPairs& pairs, const T* sources, const T* weight,
                               T* targets, Channels channels, int64_t i = 0) {
  const T* from[kPairs];
  T* to[kPairs];
  for (; i + kPairs <= pairs.count; i += kPairs) {
    for (int p = 0; p < kPairs && i + kPairs + p < pairs.count; ++p) {
      const int64_t next = i + kPairs + p;
      prefetch(sources + pairs.sources[next] * channels.in, channels.in);
      prefetch(targets + pairs.targets[next] * channels.out, channels.out);
    }
    for (int p = 0; p < kPairs; ++p) {
      from[p] = sources + pairs.sources[i + p] * channels.in;
      to[p] = targets + pairs.targets[i + p] * channels.out;
    }
    multiply_pairs<T, kBytes, kPairs, kSumVectors<kBytes>>(from, to, weight, channels);
  }
  if constexpr (kPairs > 1) {
    add_products<T, kBytes, kPairs / 2>(pairs, sources, weight, targets, channels, i);
  }
}

// targets[o] += sources[i] * weight for all pairs (i, o); weight is (in, out).
template <typename T, int kBytes>
PCDET_INLINE void add_products(const OffsetPairs& pairs, const T* sources, const T* weight,
                               T* targets, Channels channels) {
  add_products<T, kBytes, kSumPairs<kBytes>>(pairs, sources, weight, targets, channels);
}

// Where the rows of the pairs of a tile lie: found once for all blocks of a weight's gradient.
template <typename T>
struct RowTile {
  static constexpr int64_t kMost = 256;
  const T *sources[kMost], *targets[kMost];
  int64_t count;
};

// The part of `weight` that `kRows` channels in, from `c` on, and `kVectors` vectors of channels
// out, from `o` on, make up: weight += source x target, summed over the pairs.
template <typename T, int kBytes, int kRows, int kVectors>
PCDET_INLINE void add_outer_block(const RowTile<T>& rows, T* weight, Channels channels, int64_t c,
                                  int64_t o) {
  using Vector = typename Lanes<T, kBytes>::Vector;
  constexpr int kLanes = Lanes<T, kBytes>::kCount;
  Vector sums[kRows][kVectors] = {};
  for (int64_t i = 0; i < rows.count; ++i) {
    const T* source = rows.sources[i] + c;
    const T* target = rows.targets[i] + o;
    Vector row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) row[v] = load<Vector>(target + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] += source[r] * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      T* part = weight + (c + r) * channels.out + o + v * kLanes;
      const Vector sum = load<Vector>(part) + sums[r][v];
      std::memcpy(part, &sum, kBytes);
    }
  }
}

// `kRows` rows of `weight`, the columns from `o` on in groups as those of `multiply_pairs`.
template <typename T, int kBytes, int kRows, int kVectors>
PCDET_INLINE void add_outer_rows(const RowTile<T>& rows, T* weight, Channels channels, int64_t c,
                                 int64_t o = 0) {
  constexpr int64_t kColumns = kVectors * Lanes<T, kBytes>::kCount;
  for (; o + kColumns <= channels.out; o += kColumns) {
    add_outer_block<T, kBytes, kRows, kVectors>(rows, weight, channels, c, o);
  }
  if constexpr (kVectors > 1) {
    add_outer_rows<T, kBytes, kRows, kVectors / 2>(rows, weight, channels, c, o);
  } else if constexpr (kColumns > 1) {
    add_outer_rows<T, kBytes / 2, kRows, 1>(rows, weight, channels, c, o);
  }
}

// The rows of `weight` from `c` to `end`, `kRows` at a time; those that are left in halves of that.
template <typename T, int kBytes, int kRows>
PCDET_INLINE void add_outer_range(const RowTile<T>& rows, T* weight, Channels channels, int64_t c,
                                  int64_t end) {
  for (; c + kRows <= end; c += kRows) {
    add_outer_rows<T, kBytes, kRows, kOuterVectors>(rows, weight, channels, c);
  }
  if constexpr (kRows > 1) add_outer_range<T, kBytes, kRows / 2>(rows, weight, channels, c, end);
}

// Rows [begin, end) of weight += the sum over all pairs (i, o) of the outer products of sources[i]
// and targets[o].
template <typename T, int kBytes>
PCDET_INLINE void add_outer_products(const OffsetPairs& pairs, const T* sources, const T* targets,
                                     T* weight, Channels channels, int64_t begin, int64_t end) {
  constexpr int64_t kCache = 16384;  // the rows of a tile stay in the first cache
  const int64_t row = std::max<int64_t>(1, (channels.in + channels.out) * sizeof(T));
  const int64_t tile = std::clamp<int64_t>(kCache / row, 16, RowTile<T>::kMost);
  RowTile<T> rows;
  for (int64_t first = 0; first < pairs.count; first += tile) {
    rows.count = std::min(tile, pairs.count - first);
    for (int64_t i = 0; i < rows.count; ++i) {
      rows.sources[i] = sources + pairs.sources[first + i] * channels.in;
      rows.targets[i] = targets + pairs.targets[first + i] * channels.out;
    }
    const int64_t last = std::min(first + 2 * tile, pairs.count);
    for (int64_t next = first + tile; next < last; ++next) {
      prefetch(sources + pairs.sources[next] * channels.in + begin, end - begin);
      prefetch(targets + pairs.targets[next] * channels.out, channels.out);
    }
    add_outer_range<T, kBytes, kOuterRows<kBytes>>(rows, weight, channels, begin, end);
  }
}

// What is done with the sums when all are added; what is not a number stays so.
template <typename T>
PCDET_INLINE void finish_sums(const T* sums, int64_t count, bool relu, T* result) {
  for (int64_t i = 0; relu && i < count; ++i) result[i] = sums[i] < T(0) ? T(0) : sums[i];
}

#undef PCDET_INLINE

}  // namespace pcdet
