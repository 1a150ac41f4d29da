// The arithmetic of all operators without torch, for compilers and processors that torch is not
// installed for: check_portable_compile.sh builds and runs it with each.
//
//     operators FILE          write the results to the file
//     operators --check FILE  compare them with what another build wrote; 1 if they differ
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "../../../pcdet/ops/common/for_each_cpu.h"
#include "../../../pcdet/ops/iou3d_nms/src/greedy_nms.h"
#include "../../../pcdet/ops/matching/src/matching.h"
#include "../../../pcdet/ops/points/src/points.h"
#include "../../../pcdet/ops/roiaware_pool3d/src/point_blocks.h"
#include "../../../pcdet/ops/roiaware_pool3d/src/roiaware_pool3d.h"
#include "../../../pcdet/ops/sparse_conv/src/sparse_conv.h"
#include "../../../pcdet/ops/three_nn/src/three_interpolate.h"
#include "../../../pcdet/ops/three_nn/src/three_nn.h"

namespace {

using pcdet::Cpu;

std::vector<double> results;

template <typename T>
void report(const std::vector<T>& numbers) {
  results.insert(results.end(), numbers.begin(), numbers.end());
}

// The same numbers everywhere: those of <random> depend on the library.
class Numbers {
 public:
  double uniform(double low, double high) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return low + (high - low) * static_cast<double>(state_ >> 11) / 9007199254740992.0;
  }

 private:
  uint64_t state_ = 1;
};

template <typename T>
std::vector<T> make_boxes(Numbers& numbers, int64_t count) {
  std::vector<T> boxes;
  for (int64_t i = 0; i < count; ++i) {
    for (const double limit : {20.0, 20.0, 1.0}) boxes.push_back(T(numbers.uniform(0, limit)));
    for (const double limit : {2.0, 4.0, 1.5}) boxes.push_back(T(numbers.uniform(0.5, limit)));
    boxes.push_back(T(numbers.uniform(-4, 4)));
  }
  return boxes;
}

template <typename T>
void overlaps_and_nms(const std::vector<T>& boxes, int64_t count) {
  std::vector<pcdet::Solid<T>> solids(count);
  Cpu::for_each(count, pcdet::SolidsFromBoxes<T>{boxes.data(), solids.data()});
  std::vector<T> ious(count * count);
  Cpu::for_each_pair(
      count, count,
      pcdet::PairwiseIou<T, pcdet::Solid>{solids.data(), solids.data(), count, ious.data()});
  report(ious);
  std::vector<pcdet::Footprint<T>> shapes;
  for (const auto& solid : solids) shapes.push_back(solid.footprint);
  for (const T threshold : {T(0.1), T(0.6)}) {
    const auto kept = std::make_unique<bool[]>(count);
    pcdet::greedy_nms(shapes.data(), count, threshold, kept.get());
    report(std::vector<int>(kept.get(), kept.get() + count));
    const int64_t row = (count + pcdet::kBitsPerWord - 1) / pcdet::kBitsPerWord;
    std::vector<uint64_t> words(count * row), suppressed(row);
    Cpu::for_each_pair(
        row, count, pcdet::SuppressionWords<T>{shapes.data(), count, row, threshold, words.data()});
    const auto chosen = std::make_unique<bool[]>(count);
    Cpu::for_each_by_team(
        1, pcdet::GreedyChoice{words.data(), count, row, suppressed.data(), chosen.get()});
    report(std::vector<int>(chosen.get(), chosen.get() + count));
  }
}

void matching(Numbers& numbers) {
  constexpr int64_t objects = 60, candidates = 3, detections = 40;
  std::vector<int64_t> starts{0}, det;
  std::vector<double> overlap, similarity, score;
  for (int64_t g = 0; g < objects; ++g) {
    for (int64_t k = 0; k < candidates; ++k) det.push_back((g + 7 * k) % detections);
    starts.push_back(det.size());
  }
  for (std::size_t k = 0; k < det.size(); ++k) {
    overlap.push_back(numbers.uniform(0.5, 1));
    similarity.push_back(numbers.uniform(0, 1));
  }
  std::vector<int8_t> state;
  for (int64_t d = 0; d < detections; ++d) {
    state.push_back(static_cast<int8_t>(d % 3 - 1));
    score.push_back(numbers.uniform(0, 1));
  }
  const auto flags = std::make_unique<bool[]>(objects);  // enough for the detections, too
  for (int64_t g = 0; g < objects; ++g) flags[g] = g % 4 != 0;
  const pcdet::Matching matching{starts.data(), det.data(),   flags.get(),
                                 state.data(),  score.data(), objects};
  std::vector<uint8_t> used(detections, 0);
  std::vector<double> found(objects);
  found.resize(pcdet::matched_scores(matching, used.data(), found.data()));
  report(found);
  const std::vector<double> thresholds{0.7, 0.3};
  std::vector<double> counts(thresholds.size() * pcdet::kCounts);
  std::vector<int64_t> taken(detections, -1);
  pcdet::matched_counts(matching, overlap.data(), similarity.data(), flags.get(), thresholds.data(),
                        thresholds.size(), taken.data(), counts.data());
  report(counts);
}

void points_of_a_scan(Numbers& numbers) {
  constexpr int64_t count = 3000, columns = 4;
  std::vector<float> points;
  for (int64_t i = 0; i < count; ++i) {
    for (const double limit : {20.0, 12.0, 3.0, 1.0}) {
      points.push_back(static_cast<float>(numbers.uniform(-1, limit)));
    }
  }
  const std::vector<float> size{0.5F, 0.4F, 0.3F}, minimum{0, 0, 0};
  const std::vector<int64_t> grid_size{32, 24, 8};
  constexpr int64_t max_points = 4, max_voxels = 1000, table_size = 2048;
  std::vector<int32_t> table(table_size, -1), coordinates(max_voxels * 3),
      num_points(max_voxels, 0);
  std::vector<int64_t> keys(max_voxels), places(count);
  const int64_t found = pcdet::assign_voxels(
      points.data(), count, columns,
      {size.data(), minimum.data(), grid_size.data(), max_points, max_voxels}, table.data(),
      table_size, keys.data(), places.data(), coordinates.data(), num_points.data());
  std::vector<float> voxels(found * max_points * columns);
  pcdet::fill_voxels(points.data(), count, columns, places.data(), num_points.data(), found,
                     max_points, voxels.data());
  report(voxels);
  report(std::vector<int32_t>(coordinates.begin(), coordinates.begin() + found * 3));
  report(num_points);
  const std::vector<float> to_rect{0, 0, 1, -1, 0, 0, 0, -1, 0, 0.1F, -0.2F, -0.3F};
  const std::vector<float> p2{700, 0, 600, 40, 0, 700, 180, 2, 0, 0, 1, 0.003F}, image{370, 1240};
  const auto seen = std::make_unique<bool[]>(count);
  pcdet::points_in_view(points.data(), count, columns, to_rect.data(), p2.data(), image.data(),
                        seen.get());
  report(std::vector<int>(seen.get(), seen.get() + count));
}

template <typename T>
void pooling(Numbers& numbers, const std::vector<T>& boxes, int64_t rois) {
  constexpr int64_t count = 3000, channels = 3;
  std::vector<T> points, features;
  for (int64_t i = 0; i < count; ++i) {
    for (const double limit : {20.0, 20.0, 2.0}) points.push_back(T(numbers.uniform(0, limit)));
    for (int c = 0; c < channels; ++c) features.push_back(T(numbers.uniform(-1, 1)));
  }
  std::vector<pcdet::BoxInterior<T>> interiors(rois);
  Cpu::for_each(rois, pcdet::InteriorsFromBoxes<T>{boxes.data(), interiors.data()});
  const pcdet::BoxGrid grid{3, 4, 2};
  std::vector<int32_t> listed(rois * count), cells(rois * count), kept(rois);
  std::vector<int32_t> filled(rois * grid.cells());
  run(Cpu{}, pcdet::PointsInBoxes<T>{points.data(), interiors.data(), rois, count, cells.data()});
  report(cells);
  Cpu::for_each_by_team(rois, pcdet::ListRoiPoints<T>{points.data(), interiors.data(), grid, count,
                                                      /*max_points=*/2, listed.data(), cells.data(),
                                                      kept.data(), filled.data()});
  report(kept);
  report(filled);
  std::vector<T> pooled(filled.size() * channels);
  const pcdet::RoiPoints lists{listed.data(), cells.data(), kept.data(), count};
  Cpu::for_each_pair(rois, channels,
                     pcdet::AveragePool<T>{lists, grid.cells(), channels, filled.data(),
                                           features.data(), pooled.data()});
  report(pooled);
}

template <typename T>
void convolution(Numbers& numbers) {
  constexpr int64_t voxels = 50;
  constexpr pcdet::Channels channels{5, 21};  // neither fills whole registers
  std::vector<T> features, weight, grad;
  for (int64_t i = 0; i < voxels * channels.in; ++i) features.push_back(T(numbers.uniform(-1, 1)));
  for (int64_t i = 0; i < channels.in * channels.out; ++i) {
    weight.push_back(T(numbers.uniform(-1, 1)));
  }
  std::vector<int32_t> sources, targets;
  for (int32_t i = 0; i < voxels; ++i) {
    sources.push_back(i);
    targets.push_back(voxels - 1 - i);
  }
  const pcdet::OffsetPairs pairs{sources.data(), targets.data(), voxels};
  std::vector<T> outputs(voxels * channels.out), weight_grad(channels.in * channels.out);
  pcdet::add_products<T, 16>(pairs, features.data(), weight.data(), outputs.data(), channels);
  report(outputs);
  pcdet::add_outer_products<T, 16>(pairs, features.data(), outputs.data(), weight_grad.data(),
                                   channels, 0, channels.in);
  report(weight_grad);
}

template <typename T>
void nearest_three(Numbers& numbers) {
  constexpr int64_t count = 200, channels = 11;
  const double low[] = {0, 0}, side[] = {2, 2};
  const pcdet::CellGrid grid{low, side, /*frames=*/1, /*side=*/10};
  std::vector<T> sites, points;
  for (int64_t i = 0; i < count * pcdet::kCoordinates; ++i) {
    sites.push_back(T(numbers.uniform(0, 20)));
    points.push_back(T(numbers.uniform(0, 20)));
  }
  const std::vector<int32_t> frames(count);
  std::vector<int64_t> cells(count), order(count), starts(grid.cells() + 1);
  Cpu::for_each(count, pcdet::CellsOfSites<T>{sites.data(), frames.data(), grid, cells.data()});
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return cells[a] < cells[b]; });
  std::vector<int64_t> keys;
  std::vector<T> sorted, distances(count * pcdet::kNeighbours), weights(distances);
  for (const int64_t i : order) {
    keys.push_back(cells[i]);
    for (int k = 0; k < pcdet::kCoordinates; ++k) {
      sorted.push_back(sites[i * pcdet::kCoordinates + k]);
    }
  }
  Cpu::for_each(count + 1, pcdet::StartsOfKeys{keys.data(), count, grid.cells(), starts.data()});
  std::vector<int64_t> nearest(distances.size());
  Cpu::for_each(count,
                pcdet::ThreeNearest<T>{points.data(), frames.data(), sorted.data(), order.data(),
                                       starts.data(), grid, distances.data(), nearest.data()});
  report(distances);
  report(nearest);
  std::vector<T> sums(count * channels), features;
  for (T& weight : weights) weight = T(numbers.uniform(0, 1));
  for (int64_t i = 0; i < count * channels; ++i) features.push_back(T(numbers.uniform(-1, 1)));
  Cpu::for_each_pair(count, pcdet::ChannelSums<T>::blocks(channels),
                     pcdet::Interpolate<T>{features.data(), nearest.data(), weights.data(),
                                           channels, sums.data()});
  report(sums);
}

template <typename T>
void compute() {
  Numbers numbers;
  constexpr int64_t count = 150;
  const std::vector<T> boxes = make_boxes<T>(numbers, count);
  overlaps_and_nms(boxes, count);
  pooling(numbers, boxes, count);
  convolution<T>(numbers);
  nearest_three<T>(numbers);
}

int check(std::FILE* file) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    double other = 0;
    if (std::fscanf(file, "%lf", &other) != 1 || !(std::abs(other - results[i]) <= 1e-4)) {
      std::fprintf(stderr, "number %zu is %.9g and was %.9g\n", i, results[i], other);
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  Numbers numbers;
  matching(numbers);
  points_of_a_scan(numbers);
  compute<float>();
  compute<double>();
  const bool checks = count == 3 && std::strcmp(arguments[1], "--check") == 0;
  std::FILE* file = std::fopen(arguments[count - 1], checks ? "r" : "w");
  if (file == nullptr || count < 2) return 2;
  const int outcome = checks ? check(file) : 0;
  for (const double number : results) {
    if (!checks) std::fprintf(file, "%.9g\n", number);
  }
  std::fclose(file);
  return outcome;
}
