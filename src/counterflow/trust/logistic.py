"""Logistic regression, and how far a row of figures lies from many (numpy alone)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Figures = Mapping[str, float]
Rows = Float[np.ndarray, "rows figures"]

FARTHEST = 6.0
"""In spreads: a figure that lies farther off counts as this far, so that none decides alone."""
NEAR = 3.0
"""The same for the figures of a regression, whose products grow faster."""


@dataclass(frozen=True)
class Scale:
    """Figures in units of what is usual: `(x - median) / spread`, within ±`FARTHEST`."""

    names: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    """1.4826 times the median distance from the median: of a normal distribution its sigma."""

    @classmethod
    def of(cls, names: Sequence[str], usual: Sequence[Figures]) -> Scale:
        """The scale of rows of figures that are usual."""
        rows = table(names, usual)
        centre = np.median(rows, 0)
        spread = 1.4826 * np.median(np.abs(rows - centre), 0)
        return cls(tuple(names), tuple(centre.tolist()), tuple(np.maximum(spread, 1e-9).tolist()))

    def __call__(self, rows: Sequence[Figures]) -> Rows:
        """Rows of figures, scaled."""
        scaled = (table(self.names, rows) - np.array(self.centre)) / np.array(self.spread)
        clipped: Rows = np.clip(np.nan_to_num(scaled), -FARTHEST, FARTHEST)
        return clipped


@dataclass(frozen=True)
class Logistic:
    """`P = 1 / (1 + exp(-(bias + weights * terms)))`.

    The terms are the scaled figures and half of each product of two, squares included.
    """

    scale: Scale
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def fit(
        cls, scale: Scale, rows: Sequence[Figures], outcomes: Sequence[bool], penalty: float = 1.0
    ) -> Logistic:
        """The likeliest weights, less `penalty / 2` times their squares, by Newton's method.

        Without a penalty on the bias the mean probability is the share of true outcomes.
        """
        x = np.column_stack([np.ones(len(rows)), terms(scale(rows))])
        y: Bool[np.ndarray, "rows"] = np.asarray(outcomes, bool)
        held = penalty * np.eye(x.shape[1])
        held[0, 0] = 1e-6  # so that equal outcomes have a finite bias
        w = np.zeros(x.shape[1])
        for _ in range(100):
            p = _sigmoid(x @ w)
            gradient = x.T @ (y - p) - held @ w
            change = np.linalg.solve((x.T * (p * (1 - p))) @ x + held, gradient)
            w = w + change * min(1.0, 5.0 / max(1e-12, float(np.abs(change).max())))
            if np.abs(change).max() < 1e-8:
                break
        return cls(scale, tuple(w[1:].tolist()), float(w[0]))

    def __call__(self, rows: Sequence[Figures]) -> Float[np.ndarray, "rows"]:
        """The probability of each row, 0 to 1."""
        return _sigmoid(self.bias + terms(self.scale(rows)) @ np.array(self.weights))


def terms(scaled: Rows) -> Float[np.ndarray, "rows terms"]:
    """The figures within ±`NEAR`, and half of each product of two of them."""
    x = np.clip(scaled, -NEAR, NEAR)
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([x, x[:, first] * x[:, second] / 2])


def table(names: Sequence[str], rows: Sequence[Figures]) -> Rows:
    """Some figures of each row, in order."""
    return np.array([[row[name] for name in names] for row in rows], dtype=float)


def _sigmoid(x: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    p: Float[np.ndarray, "rows"] = 1 / (1 + np.exp(-np.clip(x, -50, 50)))
    return p
