"""What the methods that find a mask of their own share: maps `[batch, 1, height, width]`."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, quantile
from torch.nn.functional import max_pool2d

from counterflow.controls.blend import smoothed
from counterflow.flow import Latent

Map = Float[Tensor, "batch 1 height width"]


def lengths(d: Latent) -> Map:
    """How long each cell of a difference is, the mean of 3x3 cells."""
    return smoothed(d.norm(dim=1, keepdim=True))


def scaled(values: Map, least: float) -> Map:
    """From 0 at a map's lowest value to 1 at its highest; `least` is added to what divides."""
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return (values - low) / (high - low + least)


def between(values: Map, low: float, high: float) -> Map:
    """0 at one quantile of a map and 1 at another, and beyond both where values are."""
    flat = values.flatten(1)
    a, b = (quantile(flat, q, 1).reshape(-1, 1, 1, 1) for q in (low, high))
    return (values - a) / (b - a + 1e-8)


def dilated(values: Map, size: int = 3) -> Map:
    """The largest value of a square around each cell; it ends at the border."""
    return max_pool2d(values, size, 1, size // 2)


def eroded(values: Map, size: int = 3) -> Map:
    """The smallest value of a square around each cell; it ends at the border."""
    return -dilated(-values, size)


def closed(values: Map, size: int = 3) -> Map:
    """Dilated, then eroded: small holes are gone."""
    return eroded(dilated(values, size), size)
