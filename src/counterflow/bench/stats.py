"""Averages over cases, and how far they can be trusted: percentile bootstrap, 95 %.

A case has a value, or None where the figure does not apply to it or was not measured, or infinity:
the PSNR of pictures that are exactly equal. A mean with an infinity in it says nothing, and any cap
would decide the mean by itself, so infinities are left out and counted as `exact`.

A bootstrap resamples what was seen. Where all cases agree its interval has no width, which does not
mean certainty: of n cases that all succeed, a true share of 1 - 3/n is still likely enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Value = float | None
Average = Callable[..., Any]
"""`np.mean` or `np.median`."""
Values = Float[np.ndarray, "cases"]
Averages = Float[np.ndarray, "resamples"]

CONFIDENCE = 0.95
BLOCK = 2_000_000
"""Draws that are held in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """An estimate, a mean or median, and the bounds of the true value with 95 % confidence."""

    estimate: float | None
    """None where no case has a value."""
    low: float | None
    high: float | None
    """None where fewer than two cases (in each group) have a value: one says nothing of spread."""
    count: int
    """Cases, or pairs of cases, that the estimate is over."""
    missing: int
    """Cases without a value, or pairs of which one has none."""
    exact: int = 0
    """Cases of infinite value, or pairs with one; they are in neither of the other counts."""

    @property
    def mirrored(self) -> Interval:
        """Of the same values with the other sign."""
        estimate, low, high = (
            None if bound is None else -bound for bound in (self.estimate, self.high, self.low)
        )
        return replace(self, estimate=estimate, low=low, high=high)

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False where there is none."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def mean_interval(values: Sequence[Value], seed: int = 0, resamples: int = 2000) -> Interval:
    """The mean of the values that there are, resampled over cases.

    Equal arguments give equal intervals. Raises ValueError for NaN.
    """
    return _of_one(np.mean, values, seed, resamples)


def median_interval(values: Sequence[Value], seed: int = 0, resamples: int = 2000) -> Interval:
    """The median in place of the mean, as `mean_interval`."""
    return _of_one(np.median, values, seed, resamples)


def _of_one(average: Average, values: Sequence[Value], seed: int, resamples: int) -> Interval:
    (finite,), missing, exact = _finite(values)
    averages = _resampled(finite, np.random.default_rng(seed), resamples, average)
    estimate = float(average(finite)) if len(finite) else None
    return _interval(estimate, averages, len(finite), missing, exact)


def paired_difference(
    a: Sequence[Value], b: Sequence[Value], seed: int = 0, resamples: int = 2000
) -> Interval:
    """The mean of a - b over the cases that have both values, resampled over pairs.

    Raises ValueError where the two are not equally long.
    """
    (one, other), missing, exact = _finite(a, b)
    change = one - other
    averages = _resampled(change, np.random.default_rng(seed), resamples)
    mean = float(change.mean()) if len(change) else None
    return _interval(mean, averages, len(change), missing, exact)


def difference_of_differences(
    a1: Sequence[Value],
    b1: Sequence[Value],
    a2: Sequence[Value],
    b2: Sequence[Value],
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """How much larger the mean of a - b is in one group of paired cases than in another.

    The groups share no case, and each is resampled by itself. Counts are over both; the mean is
    None where either group has no pair. Raises ValueError as `paired_difference` does.
    """
    (one1, other1), missing1, exact1 = _finite(a1, b1)
    (one2, other2), missing2, exact2 = _finite(a2, b2)
    first, second = one1 - other1, one2 - other2
    rng = np.random.default_rng(seed)
    mean = averages = None
    if len(first) and len(second):
        mean = float(first.mean() - second.mean())
        parts = [_resampled(group, rng, resamples) for group in (first, second)]
        averages = parts[0] - parts[1] if parts[0] is not None and parts[1] is not None else None
    counts = len(first) + len(second), missing1 + missing2, exact1 + exact2
    return _interval(mean, averages, *counts)


def bounds(
    statistic: Callable[..., float | None],
    *groups: Sequence[Any],
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[float, float] | None:
    """The 95 % bounds of a statistic of groups of cases, each resampled by itself.

    None where a group has fewer than two cases. Resamples for which the statistic is None are left
    out. Of a statistic that is never negative, such as a calibration error, resampling adds to it.
    """
    if any(len(group) < 2 for group in groups):
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        chosen = [[group[n] for n in rng.integers(len(group), size=len(group))] for group in groups]
        value = statistic(*chosen)
        if value is not None:
            found.append(value)
    if not found:
        return None
    return _middle(np.array(found))


def _finite(*columns: Sequence[Value]) -> tuple[list[Values], int, int]:
    """Each column at the cases of which all are finite; how many lack one, or are infinite."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"pairs need columns of one length, not {lengths}")
    if any(value is not None and np.isnan(value) for column in columns for value in column):
        raise ValueError("NaN is no value; give None where there is no value")
    table = np.array([[np.nan if v is None else v for v in c] for c in columns], dtype=float)
    missing: Bool[np.ndarray, "cases"] = np.isnan(table).any(0)
    finite: Bool[np.ndarray, "cases"] = np.isfinite(table).all(0)
    return list(table[:, finite]), int(missing.sum()), int((~missing & ~finite).sum())


def _resampled(
    values: Values, rng: np.random.Generator, resamples: int, average: Average = np.mean
) -> Averages | None:
    """The average of each resample; None for fewer than two values."""
    if len(values) < 2:
        return None
    return np.concatenate(list(_blocks(values, rng, resamples, average)))


def _blocks(
    values: Values, rng: np.random.Generator, resamples: int, average: Average
) -> Iterator[Averages]:
    size = len(values)
    for start in range(0, resamples, rows := max(1, BLOCK // size)):
        chosen = rng.integers(size, size=(min(rows, resamples - start), size))
        yield average(values[chosen], axis=1)


def _interval(
    estimate: float | None, averages: Averages | None, count: int, missing: int, exact: int
) -> Interval:
    if averages is None:
        return Interval(estimate, None, None, count, missing, exact)
    return Interval(estimate, *_middle(averages), count, missing, exact)


def _middle(averages: Averages) -> tuple[float, float]:
    """The bounds that leave out as many resamples below as above, `CONFIDENCE` between them."""
    low, high = np.quantile(averages, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
