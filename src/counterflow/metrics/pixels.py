"""MSE, PSNR and SSIM of two pictures, over all their pixels or those of a region."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, UInt8

Picture = UInt8[np.ndarray, "_ _ 3"]
Region = Bool[np.ndarray, "_ _"]

WINDOW, SIGMA = 11, 1.5


def mse(a: Picture, b: Picture, where: Region | None = None) -> float | None:
    """Mean squared error of pictures scaled to 0…1, so between 0 and 1; lower is more alike.

    It is taken over the pixels of `where`, and is None if there are none. Raises ValueError for
    arrays of another type or size.
    """
    check(a, b, where)
    error = ((a.astype(np.float64) - b.astype(np.float64)) / 255) ** 2
    if where is None:
        return float(error.mean())
    return float(error[where].mean()) if where.any() else None


def psnr(a: Picture, b: Picture, where: Region | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB, −10·log10 of `mse`; higher is more alike.

    Infinite for equal pictures, None for a region without pixels. Raises ValueError as `mse` does.
    """
    error = mse(a, b, where)
    if error is None:
        return None
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def ssim(a: Picture, b: Picture, where: Region | None = None) -> float | None:
    """Structural similarity (Wang et al. 2004), between −1 and 1; higher is more alike.

    The mean over channels and over the Gaussian windows (11×11, σ 1.5, K 0.01 and 0.03) that lie
    within the picture and have their middle in `where`. None if there is no such window. Raises
    ValueError as `mse` does.
    """
    check(a, b, where)
    if min(a.shape[:2]) < WINDOW:
        return None
    similarity = _similarity(a / 255, b / 255)
    if where is None:
        return float(similarity.mean())
    edge = WINDOW // 2
    middle = where[edge:-edge, edge:-edge]
    return float(similarity[middle].mean()) if middle.any() else None


def check(a: Picture, b: Picture, where: Region | None = None) -> None:
    """Raise ValueError unless both pictures, and the region if given, have one size."""
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"a picture is a uint8 array [height, width, 3], not {picture.dtype} "
                f"{list(picture.shape)}"
            )
    if a.shape != b.shape:
        raise ValueError(f"pictures of {_size(a)} and {_size(b)}: resize one to the other's size")
    if where is not None and (where.dtype != bool or where.shape != a.shape[:2]):
        raise ValueError(
            f"the region of a picture of {_size(a)} is a bool array {list(a.shape[:2])}, "
            f"not {where.dtype} {list(where.shape)}"
        )


def _size(picture: Picture) -> str:
    """Width×height, for a message."""
    return f"{picture.shape[1]}×{picture.shape[0]}"


def _similarity(
    a: Float64[np.ndarray, "h w 3"], b: Float64[np.ndarray, "h w 3"]
) -> Float64[np.ndarray, "_ _ 3"]:
    """SSIM of every window within the picture, `[h - 10, w - 10, 3]`; inputs in 0…1."""
    mean_a, mean_b = _blur(a), _blur(b)
    variances = _blur(a * a) - mean_a**2 + _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity: np.ndarray = alike / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return similarity


def _blur(x: Float64[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "_ _ 3"]:
    """Weighted means over Gaussian windows that lie within `x`, `[h - 10, w - 10, 3]`."""
    place = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(place**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    for _ in range(2):
        fitting = len(x) - WINDOW + 1
        summed = np.zeros((fitting, *x.shape[1:]))
        for i, weight in enumerate(kernel):
            summed += weight * x[i : i + fitting]
        x = summed.swapaxes(0, 1)
    return x
