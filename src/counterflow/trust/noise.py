"""How an inverted noise differs from the standard normal noise that a model begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from counterflow.flow import OneLatent


@dataclass(frozen=True)
class NoiseStatistics:
    """Of a noise; each with what it is of white standard normal noise."""

    mean: float
    """0."""
    variance: float
    """1."""
    kurtosis: float
    """Excess kurtosis, `E[(x - m)^4] / var^2 - 3`: 0."""
    autocorrelation: float
    """Correlation of neighbours in a row or a column: 0; towards 1 where the noise is smooth."""


def noise_statistics(noise: OneLatent) -> NoiseStatistics:
    """The statistics over all values of a noise `[1, c, h, w]`, neighbours within a channel.

    Of n values of white noise they stray from 0, 1, 0 and 0 by about `1/sqrt(n)`, `sqrt(2/n)`,
    `sqrt(24/n)` and `1/sqrt(2n)`. Of a constant, kurtosis and autocorrelation are NaN.
    """
    x = noise.double()
    mean, variance = x.mean(), x.var(correction=0)
    x = x - mean
    if not variance > 0:
        return NoiseStatistics(mean.item(), 0.0, math.nan, math.nan)
    return NoiseStatistics(
        mean.item(),
        variance.item(),
        (x.pow(4).mean() / variance**2 - 3).item(),
        (_neighbours(x).mean() / variance).item(),
    )


def _neighbours(x: Tensor) -> Tensor:
    """The product of each value with its right and its lower neighbour."""
    right, below = x[..., 1:] * x[..., :-1], x[..., 1:, :] * x[..., :-1, :]
    return torch.cat([right.flatten(), below.flatten()])
