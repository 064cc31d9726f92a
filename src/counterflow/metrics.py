"""Pure functions on pictures: float or uint8 arrays `[height, width, 3]` in 0…255."""

from __future__ import annotations

import numpy as np


def mse(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float | None:
    """Mean squared error over the pixels of a bool mask `[h, w]`; None when it has none.

    Pictures count as 0…1, so the result is between 0 and 1.
    """
    error = ((a.astype(np.float64) - b.astype(np.float64)) / 255) ** 2
    if where is None:
        return float(error.mean())
    return float(error[where].mean()) if where.any() else None


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB over the pixels of a mask; infinite for equal pictures."""
    error = mse(a, b, where)
    if error is None:
        return None
    return float("inf") if error == 0 else float(-10 * np.log10(error))
