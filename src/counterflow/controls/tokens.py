"""Image tokens and the latent cells that they cover: a square of `side` by `side` each."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.backbones.base import Backbone


def token_side(backbone: Backbone) -> int:
    """Latent cells on a side of the model's tokens."""
    return backbone.latent_shape((backbone.token, backbone.token))[1]


def to_tokens(mask: Float[Tensor, "n 1 height width"], side: int) -> Float[Tensor, "n tokens 1"]:
    """A mask of cells as one of tokens: a token has the largest value of its cells."""
    return torch.nn.functional.max_pool2d(mask, side).flatten(2).transpose(1, 2)


def to_cells(
    tokens: Float[Tensor, "n tokens 1"], rows: int, side: int
) -> Float[Tensor, "n 1 height width"]:
    """A mask of tokens as one of `rows` rows of cells."""
    grid = tokens.reshape(len(tokens), 1, rows // side, -1)
    return grid.repeat_interleave(side, 2).repeat_interleave(side, 3)


def outside_tokens(
    backbone: Backbone, mask: Float[Tensor, "1 1 height width"] | None, targets: int
) -> Float[Tensor, "n tokens 1"] | None:
    """For each target, 1 where a token has no cell inside a mask; None without a mask."""
    if mask is None:
        return None
    return (1 - to_tokens(mask, token_side(backbone))).expand(targets, -1, -1)
