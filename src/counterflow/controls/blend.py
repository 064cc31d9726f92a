"""Masks of latents: outside the mask an edit keeps to the source's own trajectory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterflow.flow import Latent, OneLatent


def latent_mask(
    mask: Bool[Tensor, "height width"], rows: int, columns: int
) -> Float[Tensor, "1 1 h w"]:
    """A mask `[rows, columns]` of latent cells: 1 where a cell has any pixel inside, else 0."""
    return torch.nn.functional.adaptive_max_pool2d(mask.float()[None, None], (rows, columns))


def blend(inside: Latent, outside: OneLatent, mask: Tensor) -> Latent:
    """Exactly `inside` where the mask is 1 and exactly `outside` where it is 0; mixed between."""
    return torch.where(mask >= 1, inside, outside + mask * (inside - outside))


def smoothed(
    values: Float[Tensor, "n 1 rows columns"],
) -> Float[Tensor, "n 1 rows columns"]:
    """The mean of each cell and its neighbours (3×3); the border's cells stand beyond it too."""
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 3, 1)


def difference_mask(
    differences: Float[Tensor, "n rows columns"], threshold: float
) -> Bool[Tensor, "rows columns"]:
    """The cells where the velocities of two prompts differ most, for one picture.

    Each of the `n` maps of magnitudes is divided by its mean, so that all noise levels have equal
    weight. The mean of the maps is smoothed over neighbours (3×3). Inside are the cells at or above
    `median + threshold * (largest - median)`; the median is the difference found everywhere, and
    `threshold` is from 0 to 1.
    """
    scaled = differences / differences.mean((1, 2), keepdim=True).clamp_min(1e-12)
    smooth = smoothed(scaled.mean(0)[None, None])[0, 0]
    low, high = smooth.median(), smooth.max()
    return smooth >= low + threshold * (high - low)
