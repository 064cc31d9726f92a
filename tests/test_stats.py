"""Bootstrap intervals against closed forms, scipy, and their own promise of coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from counterflow.bench import stats
from counterflow.bench.stats import (
    Interval,
    difference_of_differences,
    mean_interval,
    median_interval,
    paired_difference,
)

RNG = np.random.default_rng
ZERO_TO_FIVE = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def agree(interval: Interval, low: float, high: float, share: float) -> None:
    """Both bounds are the given ones, to a share of the width."""
    assert interval.low is not None and interval.high is not None
    assert interval.low == pytest.approx(low, abs=share * (high - low))
    assert interval.high == pytest.approx(high, abs=share * (high - low))


def test_a_large_sample_has_the_normal_interval() -> None:
    values = RNG(1).normal(3, 2, 4000)
    reach = 1.96 * values.std() / math.sqrt(len(values))
    interval = mean_interval(values.tolist(), resamples=4000)
    assert interval.estimate == pytest.approx(values.mean())
    agree(interval, values.mean() - reach, values.mean() + reach, 0.03)


def test_successes_have_the_binomial_interval() -> None:
    values = [1.0] * 300 + [0.0] * 700
    low, high = scipy_stats.binom.ppf([0.025, 0.975], 1000, 0.3) / 1000
    agree(mean_interval(values, resamples=4000), low, high, 0.05)


def by_scipy(samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray]) -> list[float]:
    made = scipy_stats.bootstrap(
        samples, statistic, n_resamples=20_000, method="percentile", rng=RNG(9), batch=2000
    )
    return [float(bound) for bound in made.confidence_interval]


def test_scipy_agrees_on_a_skewed_sample() -> None:
    values = RNG(2).exponential(2, 40)
    agree(mean_interval(values.tolist(), resamples=20_000), *by_scipy((values,), np.mean), 0.02)


def test_scipy_agrees_on_a_median() -> None:
    values = RNG(2).exponential(2, 41)
    interval = median_interval(values.tolist(), resamples=20_000)
    agree(interval, *by_scipy((values,), np.median), 0.02)
    assert interval.estimate == pytest.approx(np.median(values))
    some = median_interval([1.0, None, 9.0, 2.0, math.inf])
    assert (some.estimate, some.count, some.missing, some.exact) == (2.0, 3, 1, 1)


def test_scipy_agrees_on_pairs() -> None:
    """Values that share their case's difficulty: pairing takes it out."""
    shared = RNG(3).normal(0, 5, 60)
    a, b = shared + RNG(4).normal(0.5, 1, 60), shared + RNG(5).normal(0, 1, 60)
    interval = paired_difference(a.tolist(), b.tolist(), resamples=20_000)
    low, high = by_scipy((a - b,), np.mean)
    agree(interval, low, high, 0.02)
    assert high - low < 1.5  # unpaired it would be near 3.6
    assert interval.estimate == pytest.approx(a.mean() - b.mean())


def test_scipy_agrees_on_a_difference_of_differences() -> None:
    a1, b1 = RNG(6).normal(2, 1, (2, 30))
    a2, b2 = RNG(7).exponential(1, (2, 90))

    def statistic(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis) - y.mean(axis)

    columns = [column.tolist() for column in (a1, b1, a2, b2)]
    interval = difference_of_differences(*columns, resamples=20_000)
    agree(interval, *by_scipy((a1 - b1, a2 - b2), statistic), 0.02)
    assert interval.estimate == pytest.approx((a1 - b1).mean() - (a2 - b2).mean())
    assert interval.count == 120


def test_the_truth_is_inside_about_as_often_as_promised() -> None:
    """Percentile intervals of 40 cases cover a little less than 95 %: near 94 %."""
    inside = 0
    for trial in range(600):
        values = RNG(trial).exponential(1, 40).tolist()
        interval = mean_interval(values, seed=trial, resamples=500)
        assert interval.low is not None and interval.high is not None
        inside += interval.low <= 1 <= interval.high
    assert 0.90 <= inside / 600 <= 0.97


def test_a_difference_of_differences_covers_too() -> None:
    inside = 0
    for trial in range(400):
        one, other = RNG(trial).normal(0.7, 1, 30), RNG(10_000 + trial).normal(0.2, 3, 80)
        zeros = [[0.0] * 30, [0.0] * 80]
        columns = one.tolist(), zeros[0], other.tolist(), zeros[1]
        interval = difference_of_differences(*columns, seed=trial, resamples=400)
        assert interval.low is not None and interval.high is not None
        inside += interval.low <= 0.5 <= interval.high
    assert 0.91 <= inside / 400 <= 0.98


def test_the_seed_decides() -> None:
    values = RNG(8).exponential(1, 50).tolist()
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_what_is_not_known_is_counted_and_left_out() -> None:
    interval = mean_interval([1.0, None, 3.0, math.inf, None])
    assert (interval.estimate, interval.count, interval.missing, interval.exact) == (2.0, 2, 2, 1)
    assert interval == mean_interval([1.0, 3.0, math.inf, None, None])


def test_a_pair_needs_both() -> None:
    """A pair that lacks one value is missing, even where the other is infinite."""
    a = [1.0, None, 5.0, math.inf, None, 4.0]
    b = [0.5, 1.0, None, 20.0, math.inf, 1.5]
    interval = paired_difference(a, b)
    assert (interval.estimate, interval.count, interval.missing, interval.exact) == (1.5, 2, 3, 1)


def test_too_little_to_tell() -> None:
    assert mean_interval([]) == Interval(None, None, None, 0, 0)
    assert mean_interval([None]) == Interval(None, None, None, 0, 1)
    assert mean_interval([0.4]) == Interval(0.4, None, None, 1, 0)
    assert difference_of_differences([1.0], [0.0], [], []).estimate is None
    one = difference_of_differences([1.0], [0.0], [1.0, 2.0], [1.0, 1.0])
    assert (one.estimate, one.low, one.count) == (0.5, None, 3)


def test_cases_that_agree_have_no_width() -> None:
    assert mean_interval([1.0] * 9) == Interval(1, 1, 1, 9, 0)


def test_what_cannot_be_paired_or_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"one length, not \[2, 1\]"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="give None"):
        mean_interval([1.0, math.nan])


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)],
)
def test_whether_an_interval_excludes_zero(low: float, high: float, told: bool) -> None:
    assert Interval(0.5, low, high, 5, 0).excludes_zero is told
    assert not Interval(0.5, None, None, 1, 0).excludes_zero


def test_a_large_sample_is_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean_interval(ZERO_TO_FIVE, resamples=20_000)
    monkeypatch.setattr(stats, "BLOCK", 4000)
    drawn = stats._resampled(np.array(ZERO_TO_FIVE), RNG(0), 20_000)
    assert drawn is not None and len(drawn) == 20_000
    assert whole.low is not None and whole.high is not None
    agree(mean_interval(ZERO_TO_FIVE, resamples=20_000), whole.low, whole.high, 0.05)
