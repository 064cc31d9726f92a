"""How well a score parts two groups, and how true probabilities are (numpy alone)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auc(low: Sequence[float], high: Sequence[float]) -> float | None:
    """The chance that a score of `high` is above one of `low`, ties counted half; None if empty.

    The area under the receiver operating characteristic (Mann and Whitney 1947).
    """
    if not len(low) or not len(high):
        return None
    a, b = np.asarray(low, float)[:, None], np.asarray(high, float)[None]
    return float(((a < b) + 0.5 * (a == b)).mean())


def calibration_error(
    probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10
) -> float | None:
    """Expected calibration error over bins of equal width (Guo et al. 2017, arXiv 1706.04599).

    The mean distance of a bin's share of true outcomes from its mean probability, each bin
    weighted by its count; None without outcomes.
    """
    p, y = np.asarray(probabilities, float), np.asarray(outcomes, float)
    if not len(p):
        return None
    which = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs((p - y)[which == b].sum()) for b in range(bins)) / len(p))
