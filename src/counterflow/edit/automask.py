"""A mask that nobody draws: where the velocities of two prompts differ on one trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from counterflow.controls.blend import difference_mask
from counterflow.edit import pictures, prompting
from counterflow.edit.run import Progress, Run
from counterflow.flow import Step

if TYPE_CHECKING:
    from counterflow.edit.inversion import Inversion

LEVELS = (0.2, 0.9)
"""Noise levels that are looked at: above them little is decided where, below them nothing new."""


def auto_mask(
    inversion: Inversion, target: str, share: float, looks: int, progress: Progress | None
) -> np.ndarray:
    """Bool `[height, width]` at the picture's size: where the target prompt pulls another way."""
    grid, trajectory = inversion.grid, inversion.trajectory
    steps = [k for k in grid.toward_image() if LEVELS[0] <= grid[k] <= LEVELS[1]]
    steps = steps or list(grid.toward_image())
    steps = [steps[i * len(steps) // looks] for i in range(min(looks, len(steps)))]
    run = Run(inversion.backbone, inversion.negative, "masking", 2 * len(steps), progress)
    fields = [
        run.field(conditioning, 1)
        for conditioning in (prompting.embed(inversion.backbone, target), inversion.conditioning)
    ]
    found = []
    inversion.mask_forwards += 2 * len(steps)
    for k in steps:
        step = Step(k, grid.steps, grid[k], "target", "edit")
        wanted, there = (field(trajectory[k], step) for field in fields)
        found.append((wanted - there).abs().mean(1)[0])
    return pictures.stretched(difference_mask(torch.stack(found), share), inversion.picture.size)
