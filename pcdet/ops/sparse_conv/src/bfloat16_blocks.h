// The arithmetic of a sparse convolution of bfloat16 numbers, summed in float32: rows are gathered
// into blocks, which oneDNN, as it comes with torch, multiplies in the matrix units of a processor.
#pragma once

#include <ATen/native/CPUBlas.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "sparse_conv.h"

namespace pcdet {

using c10::BFloat16;

constexpr int64_t kChannelStep = 16;  // channels in and out are multiples of this
constexpr int64_t kBlockPairs = 64;   // gathered for a product
constexpr int64_t kOuterPairs = 128;  // gathered for a weight's gradient

// Whether this processor has matrix units for bfloat16, and torch products for them.
inline bool has_matrix_units() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
  static const bool has = at::native::cpublas::could_pack(at::kBFloat16);
  return has;
#else
  return false;
#endif
}

// The columns that oneDNN makes at a time: 16, 32, 48 or 64.
inline int64_t product_columns(int64_t channels) {
  int64_t columns = 64;
  while (channels % columns != 0) columns -= kChannelStep;
  return columns;
}

// What one thread has for products: memory for the factors and for what comes out, matrix units.
struct Blocks {
  std::vector<BFloat16> rows, left, right;
  std::vector<float> sums, tile;

  static Blocks& of_this_thread() {
    static thread_local Blocks blocks;
    return blocks;
  }

  // result (height, columns) = left (height, depth) * right (depth, columns), plus what it holds if
  // `add`; its rows lie `row` numbers apart. For matrix units rows of `right` are paired.
  void multiply(const BFloat16* left, const BFloat16* right, int64_t height, int64_t columns,
                int64_t depth, float* result, int64_t row, bool add) {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    // Threads that set matrix units up for the same shape at once are reported to crash now and
    // then, as if they shared what oneDNN sets them up by (its issue 5393).
    static std::mutex setting_up;
    std::unique_lock<std::mutex> lock(setting_up, std::defer_lock);
    const std::array<int64_t, 5> shape{height, columns, depth, row, add};
    if (has_matrix_units() && shape != set_up_for) lock.lock();
    set_up_for = shape;
    at::native::cpublas::brgemm(height, columns, depth, depth, columns, row, add, left, right,
                                result, has_matrix_units());
#else
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < columns; ++x) {
        float sum = add ? result[y * row + x] : 0.f;
        for (int64_t z = 0; z < depth; ++z) {
          sum += float(left[y * depth + z]) * float(right[z * columns + x]);
        }
        result[y * row + x] = sum;
      }
    }
#endif
  }

  // Gives the matrix units back.
  void release() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    if (has_matrix_units() && set_up_for[0] > 0) at::native::cpublas::brgemm_release();
#endif
    set_up_for = {};
  }

 private:
  std::array<int64_t, 5> set_up_for{};
};

// Gives matrix units back that a thread has used, at the end of a scope.
struct MatrixUnits {
  ~MatrixUnits() { Blocks::of_this_thread().release(); }
};

#define PCDET_INLINE static inline __attribute__((always_inline))

// A row of `kChannelStep` numbers or several times as many.
PCDET_INLINE void copy_row(const BFloat16* from, int64_t count, BFloat16* to) {
  for (int64_t i = 0; i < count; i += kChannelStep) {
    std::memcpy(to + i, from + i, kChannelStep * sizeof(BFloat16));
  }
}

// to = first[0], second[0], first[1], second[1], and so on.
PCDET_INLINE void interleave(const BFloat16* first, const BFloat16* second, int64_t count,
                             BFloat16* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[2 * i] = first[i];
    to[2 * i + 1] = second[i];
  }
}

// Two rows of `width` numbers as rows `row` and `row + 1` of the second factors of products, which
// are `height` rows of `product_columns` each. Instructions for bfloat16 want two rows `paired`.
PCDET_INLINE void put_rows(const BFloat16* first, const BFloat16* second, int64_t width,
                           int64_t row, int64_t height, bool paired, BFloat16* factors) {
  const int64_t columns = product_columns(width);
  for (int64_t o = 0; o < width; o += columns) {
    BFloat16* const to = factors + o * height + row * columns;
    if (paired) {
      interleave(first + o, second + o, columns, to);
    } else {
      copy_row(first + o, columns, to);
      copy_row(second + o, columns, to + columns);
    }
  }
}

// The matrix (channels in, channels out) of an offset as second factors.
inline void put_weight(const BFloat16* weight, Channels channels, bool paired, BFloat16* factors) {
  for (int64_t c = 0; c < channels.in; c += 2) {
    const BFloat16* const row = weight + c * channels.out;
    put_rows(row, row + channels.out, channels.out, c, channels.in, paired, factors);
  }
}

// Two numbers at a time: (height, 2 * width) as (width, 2 * height); multiples of 4, both.
PCDET_INLINE void transpose_twos(const BFloat16* from, int64_t height, int64_t width,
                                 BFloat16* to) {
  constexpr int64_t kTwo = 2;
  for (int64_t y = 0; y < height; y += 4) {
    for (int64_t x = 0; x < width; x += 4) {
      const BFloat16* const source = from + kTwo * (y * width + x);
      BFloat16* const target = to + kTwo * (x * height + y);
#ifdef __SSE__
      __m128 rows[4];
      for (int i = 0; i < 4; ++i) std::memcpy(&rows[i], source + kTwo * i * width, sizeof(__m128));
      _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < 4; ++i) std::memcpy(target + kTwo * i * height, &rows[i], sizeof(__m128));
#else
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t j = 0; j < 4; ++j) {
          std::copy_n(source + kTwo * (i * width + j), kTwo, target + kTwo * (j * height + i));
        }
      }
#endif
    }
  }
}

// targets[o] += sources[i] * weight for all pairs (i, o); the weight as `put_weight` leaves it.
template <typename T, int kBytes>
PCDET_INLINE void add_products(const OffsetPairs& pairs, const BFloat16* sources,
                               const BFloat16* weight, float* targets, Channels channels) {
  if (channels.in == 0) return;
  Blocks& blocks = Blocks::of_this_thread();
  const int64_t columns = product_columns(channels.out);
  blocks.left.resize(kBlockPairs * channels.in);
  blocks.sums.resize(kBlockPairs * channels.out);
  BFloat16* const left = blocks.left.data();
  float* const sums = blocks.sums.data();
  for (int64_t first = 0; first < pairs.count; first += kBlockPairs) {
    const int64_t count = std::min(kBlockPairs, pairs.count - first);
    for (int64_t p = 0; p < count; ++p) {
      copy_row(sources + pairs.sources[first + p] * channels.in, channels.in,
               left + p * channels.in);
    }
    // One shape of products for all, for which matrix units stay set up; nobody reads the rows
    // behind the last.
    for (int64_t o = 0; o < channels.out; o += columns) {
      blocks.multiply(left, weight + o * channels.in, kBlockPairs, columns, channels.in, sums + o,
                      channels.out, false);
    }
    for (int64_t p = 0; p < count; ++p) {
      float* const target = targets + pairs.targets[first + p] * channels.out;
      const float* const sum = sums + p * channels.out;
      for (int64_t o = 0; o < channels.out; ++o) target[o] += sum[o];
    }
  }
}

// Rows [begin, end) of weight += the sum over all pairs (i, o) of the outer products of sources[i]
// and targets[o]; `begin` and `end` are multiples of 4.
template <typename T, int kBytes>
PCDET_INLINE void add_outer_products(const OffsetPairs& pairs, const BFloat16* sources,
                                     const BFloat16* targets, float* weight, Channels channels,
                                     int64_t begin, int64_t end) {
  if (begin == end) return;
  Blocks& blocks = Blocks::of_this_thread();
  const int64_t height = end - begin, columns = product_columns(channels.out);
  const std::vector<BFloat16> zeros(std::max(channels.in, channels.out));
  blocks.rows.resize(kOuterPairs * height);
  blocks.left.resize(kOuterPairs * height);
  blocks.right.resize(kOuterPairs * channels.out);
  BFloat16 *const rows = blocks.rows.data(), *const left = blocks.left.data();
  BFloat16* const right = blocks.right.data();
  for (int64_t first = 0; first < pairs.count; first += kOuterPairs) {
    for (int64_t p = 0; p < kOuterPairs; p += 2) {
      const BFloat16 *from[2], *to[2];
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t pair = first + p + i;
        const bool there = pair < pairs.count;
        from[i] = there ? sources + pairs.sources[pair] * channels.in + begin : zeros.data();
        to[i] = there ? targets + pairs.targets[pair] * channels.out : zeros.data();
      }
      interleave(from[0], from[1], height, rows + p * height);
      put_rows(to[0], to[1], channels.out, p, kOuterPairs, has_matrix_units(), right);
    }
    transpose_twos(rows, kOuterPairs / 2, height, left);
    for (int64_t o = 0; o < channels.out; o += columns) {
      blocks.multiply(left, right + o * kOuterPairs, height, columns, kOuterPairs,
                      weight + begin * channels.out + o, channels.out, true);
    }
  }
}

// Sums as bfloat16, rounded to the nearest, to the even one of two as near.
PCDET_INLINE void finish_sums(const float* sums, int64_t count, bool relu, BFloat16* result) {
  for (int64_t i = 0; i < count; ++i) {
    const float sum = relu && sums[i] < 0.f ? 0.f : sums[i];
    uint32_t bits;
    std::memcpy(&bits, &sum, sizeof(bits));
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    result[i].x = uint16_t(sum == sum ? rounded : bits >> 16 | 0x40);
  }
}

#undef PCDET_INLINE

}  // namespace pcdet
