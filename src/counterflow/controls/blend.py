"""Masks: outside, the edit stays on the source's own trajectory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterflow.flow import Latent


def latent_mask(
    mask: Bool[Tensor, "height width"], rows: int, columns: int
) -> Float[Tensor, "1 1 h w"]:
    """1 where a latent cell holds any pixel inside the mask, 0 elsewhere."""
    return torch.nn.functional.adaptive_max_pool2d(mask.float()[None, None], (rows, columns))


def blend(inside: Latent, outside: Latent, mask: Tensor) -> Latent:
    """`inside` where the mask is 1 and exactly `outside` where it is 0."""
    return torch.where(mask > 0, inside, outside)
