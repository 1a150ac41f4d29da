// The arithmetic of batch normalisation over rows of channels, a block of rows at a time.
//
// A sum of a million float32 numbers, one after the other, loses three digits, so sums are double.
// Blocks are the same whatever the number of threads, and so are the results.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pcdet {

// Inlined into a function for a newer processor, the code is compiled for that processor.
#define PCDET_MEMBER inline __attribute__((always_inline))
#define PCDET_INLINE static PCDET_MEMBER

constexpr int64_t kRun = 32;     // rows that are read before the next channels
constexpr int64_t kTile = 16;    // channels whose sums stay in registers
constexpr int64_t kBlock = 512;  // rows whose sums one thread makes

// sums[c] += first(r, c) and products[c] += first(r, c) * second(r, c), over the rows [begin, end)
// of kChannels channels.
template <int64_t kChannels, typename First, typename Second>
PCDET_INLINE void add_tile(int64_t begin, int64_t end, int64_t channel, const First& first,
                           const Second& second, double* sums, double* products) {
  double sum[kChannels], product[kChannels];
  std::copy_n(sums + channel, kChannels, sum);
  std::copy_n(products + channel, kChannels, product);
  for (int64_t r = begin; r < end; ++r) {
    decltype(first(r, channel)) number[kChannels];
    for (int64_t c = 0; c < kChannels; ++c) number[c] = first(r, channel + c);
    for (int64_t c = 0; c < kChannels; ++c) {
      sum[c] += double(number[c]);
      product[c] += double(number[c]) * double(second(r, channel + c));
    }
  }
  std::copy_n(sum, kChannels, sums + channel);
  std::copy_n(product, kChannels, products + channel);
}

// The same of all channels.
template <typename First, typename Second>
PCDET_INLINE void add_sums(int64_t begin, int64_t end, int64_t channels, const First& first,
                           const Second& second, double* sums, double* products) {
  for (int64_t run = begin; run < end; run += kRun) {
    const int64_t last = std::min(run + kRun, end);
    int64_t c = 0;
    for (; c + kTile <= channels; c += kTile)
      add_tile<kTile>(run, last, c, first, second, sums, products);
    for (; c + 4 <= channels; c += 4) add_tile<4>(run, last, c, first, second, sums, products);
    for (; c < channels; ++c) add_tile<1>(run, last, c, first, second, sums, products);
  }
}

// Sums of x and of its square over a block of rows, each taken as often as `counts` says, if given.
template <typename T, typename Op>
PCDET_INLINE void block_moments(const T* x, const Op* counts, int64_t begin, int64_t end,
                                int64_t channels, double* sums, double* squares) {
  const auto value = [=](int64_t r, int64_t c) { return x[r * channels + c]; };
  const auto often = [=](int64_t r, int64_t c) { return double(counts[r]) * double(value(r, c)); };
  if (counts)
    add_sums(begin, end, channels, often, value, sums, squares);
  else
    add_sums(begin, end, channels, value, value, sums, squares);
}

// What a normalisation makes of its rows.
template <typename T, typename Op>
struct Normalised {
  const T* x;
  const Op *mean, *scale, *bias;
  int64_t channels;
  Op least;  // what may come out: 0 behind a ReLU, else minus infinity

  // (x - mean) * scale + bias, before the ReLU.
  PCDET_MEMBER Op linear(int64_t r, int64_t c) const {
    return (Op(x[r * channels + c]) - mean[c]) * scale[c] + bias[c];
  }
  // The gradient before the ReLU, by torch's rules for 0 and NaN.
  PCDET_MEMBER Op before_relu(const T* grad, int64_t r, int64_t c) const {
    const Op after = Op(grad[r * channels + c]);  // read in any case, so that it takes no branch
    return linear(r, c) <= least ? Op(0) : after;
  }
};

// The rows themselves, for a block of them.
template <typename T, typename Op>
PCDET_INLINE void block_normalise(const Normalised<T, Op>& rows, int64_t begin, int64_t end, T* y) {
  for (int64_t r = begin; r < end; ++r) {
    T* to = y + r * rows.channels;
    for (int64_t c = 0; c < rows.channels; ++c) {
      const Op value = rows.linear(r, c);
      to[c] = T(value < rows.least ? rows.least : value);
    }
  }
}

// Sums of the gradient and of its product with x over a block of rows.
template <typename T, typename Op>
PCDET_INLINE void block_gradient_sums(const T* grad, const Normalised<T, Op>& rows, int64_t begin,
                                      int64_t end, double* sums, double* products) {
  const auto gradient = [=](int64_t r, int64_t c) { return rows.before_relu(grad, r, c); };
  const auto value = [=](int64_t r, int64_t c) { return Op(rows.x[r * rows.channels + c]); };
  add_sums(begin, end, rows.channels, gradient, value, sums, products);
}

// The gradient of x: scale * (grad - count * (offset + (x - mean) * slope)) for a block of rows,
// all counts 1 without `counts`.
template <typename T, typename Op>
PCDET_INLINE void block_gradient(const T* grad, const Normalised<T, Op>& rows, const Op* counts,
                                 const Op* offset, const Op* slope, int64_t begin, int64_t end,
                                 T* grad_x) {
  for (int64_t r = begin; r < end; ++r) {
    const T* from = rows.x + r * rows.channels;
    T* to = grad_x + r * rows.channels;
    const Op count = counts ? counts[r] : Op(1);
    for (int64_t c = 0; c < rows.channels; ++c) {
      const Op centred = Op(from[c]) - rows.mean[c];
      const Op less_mean = rows.before_relu(grad, r, c) - count * offset[c];
      to[c] = T(rows.scale[c] * (less_mean - centred * (count * slope[c])));
    }
  }
}

#undef PCDET_INLINE
#undef PCDET_MEMBER

}  // namespace pcdet
