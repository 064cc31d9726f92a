"""Masks: outside, the edit stays on the source's own trajectory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterflow.flow import Latent, OneLatent


def latent_mask(
    mask: Bool[Tensor, "height width"], rows: int, columns: int
) -> Float[Tensor, "1 1 h w"]:
    """1 where a latent cell holds any pixel inside the mask, 0 elsewhere."""
    return torch.nn.functional.adaptive_max_pool2d(mask.float()[None, None], (rows, columns))


def blend(inside: Latent, outside: OneLatent, mask: Tensor) -> Latent:
    """Exactly `inside` where the mask is 1, exactly `outside` where it is 0, a mixture between."""
    return torch.where(mask >= 1, inside, outside + mask * (inside - outside))


def difference_mask(
    differences: Float[Tensor, "n rows columns"], threshold: float
) -> Bool[Tensor, "rows columns"]:
    """Where two prompts want different things of one picture: cells whose velocities differ.

    Each of the `n` maps of magnitudes is scaled to its own mean, so that every noise level counts
    alike; their mean is smoothed over neighbours, and cells above `threshold` of the way from its
    median (what differs everywhere) to its largest value are inside.
    """
    scaled = differences / differences.mean((1, 2), keepdim=True).clamp_min(1e-12)
    padded = torch.nn.functional.pad(scaled.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    smooth = torch.nn.functional.avg_pool2d(padded, 3, 1)[0, 0]
    low, high = smooth.median(), smooth.max()
    return smooth >= low + threshold * (high - low)
