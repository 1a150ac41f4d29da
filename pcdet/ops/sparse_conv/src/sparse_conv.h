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

// All columns of `kPairs` pairs.
template <typename T, int kBytes, int kPairs>
PCDET_INLINE void multiply_pairs(const T* const* sources, T* const* targets, const T* weight,
                                 Channels channels) {
  constexpr int64_t kLanes = Lanes<T, kBytes>::kCount;
  T* columns[kPairs];
  const auto from = [&](int64_t column) {
    for (int p = 0; p < kPairs; ++p) columns[p] = targets[p] + column;
    return columns;
  };
  int64_t o = 0;
  for (; o + 2 * kLanes <= channels.out; o += 2 * kLanes) {
    multiply_columns<T, kBytes, kPairs, 2>(sources, from(o), weight + o, channels);
  }
  for (; o + kLanes <= channels.out; o += kLanes) {
    multiply_columns<T, kBytes, kPairs, 1>(sources, from(o), weight + o, channels);
  }
  for (; o < channels.out; ++o) {
    multiply_columns<T, sizeof(T), kPairs, 1>(sources, from(o), weight + o, channels);
  }
}

// targets[o] += sources[i] * weight for the pairs (i, o) in [begin, end); weight is (in, out).
template <typename T, int kBytes>
PCDET_INLINE void add_products(const OffsetPairs& pairs, int64_t begin, int64_t end,
                               const T* sources, const T* weight, T* targets, Channels channels) {
  constexpr int kPairs = 4;
  const T* from[kPairs];
  T* to[kPairs];
  int64_t i = begin;
  for (; i + kPairs <= end; i += kPairs) {
    for (int64_t next = i + kPairs; next < std::min(i + 2 * kPairs, end); ++next) {
      prefetch(sources + pairs.sources[next] * channels.in, channels.in);
      prefetch(targets + pairs.targets[next] * channels.out, channels.out);
    }
    for (int p = 0; p < kPairs; ++p) {
      from[p] = sources + pairs.sources[i + p] * channels.in;
      to[p] = targets + pairs.targets[i + p] * channels.out;
    }
    multiply_pairs<T, kBytes, kPairs>(from, to, weight, channels);
  }
  for (; i < end; ++i) {
    from[0] = sources + pairs.sources[i] * channels.in;
    to[0] = targets + pairs.targets[i] * channels.out;
    multiply_pairs<T, kBytes, 1>(from, to, weight, channels);
  }
}

// The part of `weight` that `kRows` channels in and `kVectors` vectors of channels out make up:
// weight += source x target, summed over the pairs in [begin, end).
template <typename T, int kBytes, int kRows, int kVectors>
PCDET_INLINE void add_outer_block(const OffsetPairs& pairs, int64_t begin, int64_t end,
                                  const T* sources, const T* targets, T* weight,
                                  Channels channels) {
  using Vector = typename Lanes<T, kBytes>::Vector;
  constexpr int kLanes = Lanes<T, kBytes>::kCount;
  Vector sums[kRows][kVectors] = {};
  for (int64_t i = begin; i < end; ++i) {
    const T* source = sources + pairs.sources[i] * channels.in;
    const T* target = targets + pairs.targets[i] * channels.out;
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
      T* part = weight + r * channels.out + v * kLanes;
      const Vector sum = load<Vector>(part) + sums[r][v];
      std::memcpy(part, &sum, kBytes);
    }
  }
}

// All columns of `kRows` rows of `weight`.
template <typename T, int kBytes, int kRows>
PCDET_INLINE void add_outer_rows(const OffsetPairs& pairs, int64_t begin, int64_t end,
                                 const T* sources, const T* targets, T* weight, Channels channels) {
  constexpr int64_t kLanes = Lanes<T, kBytes>::kCount;
  int64_t o = 0;
  for (; o + 2 * kLanes <= channels.out; o += 2 * kLanes) {
    add_outer_block<T, kBytes, kRows, 2>(pairs, begin, end, sources, targets + o, weight + o,
                                         channels);
  }
  for (; o + kLanes <= channels.out; o += kLanes) {
    add_outer_block<T, kBytes, kRows, 1>(pairs, begin, end, sources, targets + o, weight + o,
                                         channels);
  }
  for (; o < channels.out; ++o) {
    add_outer_block<T, sizeof(T), kRows, 1>(pairs, begin, end, sources, targets + o, weight + o,
                                            channels);
  }
}

// weight += the sum over all pairs (i, o) of the outer products of sources[i] and targets[o].
template <typename T, int kBytes>
PCDET_INLINE void add_outer_products(const OffsetPairs& pairs, const T* sources, const T* targets,
                                     T* weight, Channels channels) {
  constexpr int64_t kRows = 4, kCache = 16384;  // the rows of a tile stay in the first cache
  const int64_t row = (channels.in + channels.out) * sizeof(T);
  const int64_t tile = std::max<int64_t>(16, kCache / std::max<int64_t>(1, row));
  for (int64_t begin = 0; begin < pairs.count; begin += tile) {
    const int64_t end = std::min(begin + tile, pairs.count);
    for (int64_t next = end; next < std::min(end + tile, pairs.count); ++next) {
      prefetch(sources + pairs.sources[next] * channels.in, channels.in);
      prefetch(targets + pairs.targets[next] * channels.out, channels.out);
    }
    int64_t c = 0;
    for (; c + kRows <= channels.in; c += kRows) {
      add_outer_rows<T, kBytes, kRows>(pairs, begin, end, sources + c, targets,
                                       weight + c * channels.out, channels);
    }
    for (; c < channels.in; ++c) {
      add_outer_rows<T, kBytes, 1>(pairs, begin, end, sources + c, targets,
                                   weight + c * channels.out, channels);
    }
  }
}

#undef PCDET_INLINE

}  // namespace pcdet
