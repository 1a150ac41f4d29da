"""Score thresholds, precision over recall, and average precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_SAMPLES = 41
# Which of the 41 samples a recall set averages. R40 skips recall 0; R11 is the old set.
RECALL_SETS = {"R40": np.arange(1, NUM_SAMPLES), "R11": np.arange(0, NUM_SAMPLES, 4)}


@dataclass(frozen=True)
class Curve:
    """Precision, or orientation similarity, of one class, metric and difficulty.

    Attributes:
        thresholds: (T,) float64, descending scores at which was sampled; T <= 41.
        recall: (T,) float64, share of the valid ground truth that was hit at each.
        samples: (41,) float64, sample k belongs to recall k / 40; the greatest value at this or a
            later sample, 0 beyond the T samples, NaN where nothing was detected at all.
        num_valid: number of valid ground truth objects.
        num_found: number of them that are hit when every score counts.
    """

    thresholds: np.ndarray
    recall: np.ndarray
    samples: np.ndarray
    num_valid: int
    num_found: int

    def average_precision(self, recall_set: str) -> float:
        """Return the AP in percent for `recall_set`, "R40" or "R11"; NaN if a sample of it is."""
        return 100 * float(np.mean(self.samples[RECALL_SETS[recall_set]]))


def score_thresholds(hit_scores: np.ndarray, num_valid: int) -> np.ndarray:
    """Choose the scores at which the recall comes closest to 0, 1/40, 2/40, ..., 1.

    Args:
        hit_scores: (H,) scores of the hits, in any order.
        num_valid: number of valid ground truth objects, at least H.

    Returns:
        (T,) float64 descending, T <= min(H, 41).
    """
    scores = np.sort(hit_scores)[::-1]
    with_this = np.arange(1, len(scores) + 1) / max(num_valid, 1)
    with_next = with_this[1:]
    chosen = []
    recall, i = 0.0, 0
    while i < len(scores):
        # The distances to `recall` grow and shrink along the scores, so that those that come too
        # early lie together.
        i += np.count_nonzero(with_next[i:] - recall < recall - with_this[i:-1])
        chosen.append(scores[i])
        recall += 1 / (NUM_SAMPLES - 1)
        i += 1
    return np.array(chosen, dtype=np.float64)


def sample_curve(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the (41,) samples of numerator / denominator, each the greatest from there on.

    A sample of 0 / 0 is NaN and stays NaN, but does not touch the samples before it: so does
    `std::max_element` in the official program.

    Args:
        numerator: (T,) hits, or the sum of their similarities.
        denominator: (T,) hits and false positives.
    """
    samples = np.zeros(NUM_SAMPLES)
    with np.errstate(invalid="ignore"):
        samples[: len(numerator)] = numerator / denominator
    greatest = np.fmax.accumulate(samples[::-1])[::-1]
    return np.where(np.isnan(samples), np.nan, greatest)
