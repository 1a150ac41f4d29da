// The matching operators: checks and memory.
#include "greedy_matching.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

namespace pcdet {
namespace {

// The numbers of an argument, of which there must be `size` in one row without gaps.
template <typename T>
const T* numbers(const at::Tensor& tensor, const char* name, int64_t size) {
  constexpr auto kType = c10::CppTypeToScalarType<T>::value;
  TORCH_CHECK(tensor.scalar_type() == kType && tensor.dim() == 1 && tensor.size(0) == size &&
                  tensor.is_contiguous(),
              name, " must have shape (", size, ",), no gaps and type ", kType, ", got shape ",
              tensor.sizes(), ", strides ", tensor.strides(), " and type ", tensor.scalar_type());
  return tensor.const_data_ptr<T>();
}

Matching checked(const at::Tensor& starts, const at::Tensor& det, const at::Tensor& gt_valid,
                 const at::Tensor& det_state, const at::Tensor& score) {
  const int64_t gts = gt_valid.numel(), dets = score.numel(), candidates = det.numel();
  const Matching matching{numbers<int64_t>(starts, "starts", gts + 1),
                          numbers<int64_t>(det, "det", candidates),
                          numbers<bool>(gt_valid, "gt_valid", gts),
                          numbers<int8_t>(det_state, "det_state", dets),
                          numbers<double>(score, "score", dets),
                          gts,
                          dets};
  const int64_t* last = matching.starts + gts;
  TORCH_CHECK(
      *matching.starts == 0 && *last == candidates && std::is_sorted(matching.starts, last + 1),
      "starts must rise from 0 to the number of candidates, ", candidates);
  TORCH_CHECK(std::all_of(matching.det, matching.det + candidates,
                          [&](int64_t d) { return d >= 0 && d < dets; }),
              "det must be indices of ", dets, " detections");
  return matching;
}

at::Tensor matched_scores(const at::Tensor& starts, const at::Tensor& det,
                          const at::Tensor& gt_valid, const at::Tensor& det_state,
                          const at::Tensor& score) {
  const auto found = hit_scores(checked(starts, det, gt_valid, det_state, score));
  const at::Tensor result = at::empty({int64_t(found.size())}, score.options());
  std::copy(found.begin(), found.end(), result.mutable_data_ptr<double>());
  return result;
}

at::Tensor matched_counts(const at::Tensor& starts, const at::Tensor& det,
                          const at::Tensor& gt_valid, const at::Tensor& det_state,
                          const at::Tensor& score, const at::Tensor& overlap,
                          const at::Tensor& similarity, const at::Tensor& punished,
                          const at::Tensor& thresholds) {
  const Matching matching = checked(starts, det, gt_valid, det_state, score);
  const int64_t count = thresholds.numel();
  const at::Tensor counts = at::zeros({count, kCounts}, score.options());
  count_hits(matching, numbers<double>(overlap, "overlap", det.numel()),
             numbers<double>(similarity, "similarity", det.numel()),
             numbers<bool>(punished, "punished", matching.dets),
             numbers<double>(thresholds, "thresholds", count), count,
             counts.mutable_data_ptr<double>());
  return counts;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pcdet_iou3d_nms, library) {
  library.def(
      "matched_scores(Tensor starts, Tensor det, Tensor gt_valid, Tensor det_state, Tensor score) "
      "-> Tensor");
  library.def(
      "matched_counts(Tensor starts, Tensor det, Tensor gt_valid, Tensor det_state, Tensor score, "
      "Tensor overlap, Tensor similarity, Tensor punished, Tensor thresholds) -> Tensor");
}

TORCH_LIBRARY_IMPL(pcdet_iou3d_nms, CPU, library) {
  library.impl("matched_scores", matched_scores);
  library.impl("matched_counts", matched_counts);
}

}  // namespace pcdet
