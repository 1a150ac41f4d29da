// Runs a functor over work items on the CPU. for_each_cuda.h has the same functions for CUDA.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "host_device.h"

namespace pcdet {

struct Cpu {
  // Calls item(i) for i in [0, count), `grain` items or more to a thread.
  template <typename Item>
  static void for_each(int64_t count, const Item& item, int64_t grain = 256) {
    at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) item(i);
    });
  }

  // Calls item(row, column) for every pair.
  template <typename Item>
  static void for_each_pair(int64_t rows, int64_t columns, const Item& item) {
    const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, columns));
    at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t column = 0; column < columns; ++column) item(row, column);
      }
    });
  }

  // Calls item(i, team, scratch) for i in [0, count), a thread to an item.
  template <typename Item>
  static void for_each_by_team(int64_t count, const Item& item) {
    const auto alone = [&](int64_t i) {
      typename Item::Scratch scratch;
      item(i, Team{/*rank=*/0, /*size=*/1}, scratch);
    };
    for_each(count, alone, /*grain=*/1);
  }

  // For items that add to the same sums (add_shared): one after another, so always the same result.
  template <typename Item>
  static void for_each_pair_adding(int64_t rows, int64_t columns, const Item& item) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) item(row, column);
    }
  }
};

}  // namespace pcdet
