"""Pictures for training and for its held-out measurements, from seeds reserved for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from counterflow.toybox.render import render
from counterflow.toybox.scene import HELD_OUT_SEEDS, TRAINING_SEEDS, Scene, sample

__all__ = ["HELD_OUT_SEEDS", "TRAINING_SEEDS", "pictures", "scenes", "to_model"]


def scenes(seeds: range, count: int) -> list[Scene]:
    """The first `count` scenes of a range of seeds."""
    return [sample(seed) for seed in seeds[:count]]


def pictures(scenes: list[Scene], size: int = 128) -> Tensor:
    """Render scenes as a uint8 tensor `[n, 3, size, size]`."""
    out = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8)
    for row, scene in zip(out, scenes, strict=True):
        row.copy_(torch.from_numpy(np.array(render(scene, size))).permute(2, 0, 1))
    return out


def to_model(pictures: Tensor) -> Tensor:
    """Convert uint8 `[..., 3, h, w]` in 0…255 to float32 in −1…1."""
    return pictures.float() / 127.5 - 1
