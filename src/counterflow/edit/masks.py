"""A mask found from a model, where the velocities of two prompts differ; masks grown and feathered.

A mask is `[height, width]`: bool, true inside, or soft, float32 from 0 (outside) to 1 (inside).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterflow.controls.blend import difference_mask
from counterflow.flow import Grid
from counterflow.kinds import Integer
from counterflow.methods.run import Run
from counterflow.solvers.trajectory import Trajectory

SIGMAS = (0.2, 0.9)
"""Noise levels that are compared: above them little of the layout is decided, below them all is."""
PIXELS = Integer(0, 1000)
"""How far a mask is grown, and how wide it is feathered."""


def find_mask(
    run: Run, known: Trajectory | None, threshold: float, steps: Sequence[int]
) -> Bool[Tensor, "rows columns"]:
    """The latent cells where the target prompt wants another picture, from two forwards a step.

    Where no trajectory has been the picture is noised; `threshold` is that of `difference_mask`.
    """
    run.expected = len(steps)
    noise = run.noise()
    differences = []
    for k in steps:
        step = run.grid.step(k)
        x = run.noised(noise, step.sigma) if known is None or k < known.first else known[k]
        source, target = run.velocities(step, run.of_source(x), run.of_target(x))
        differences.append((target - source).abs().mean(1)[0])
        run.done(step)
    return difference_mask(torch.stack(differences), threshold)


def compared_steps(grid: Grid, noise_levels: int) -> list[int]:
    """At most so many steps, evenly spread over the noise levels that tell most."""
    steps = [k for k in grid.toward_image() if SIGMAS[0] <= grid[k] <= SIGMAS[1]]
    steps = steps or list(grid.toward_image())
    count = min(noise_levels, len(steps))
    return [steps[i * len(steps) // count] for i in range(count)]


def grow(mask: Bool[np.ndarray, "height width"], pixels: int) -> Bool[np.ndarray, "height width"]:
    """The mask and all pixels within this Euclidean distance of it; InputError as `PIXELS` says."""
    return _distance(mask, PIXELS.check("grow", pixels)) <= pixels


def feather(
    mask: Bool[np.ndarray, "height width"], pixels: int
) -> Float[np.ndarray, "height width"]:
    """The mask made soft outwards: 1 inside, `1 - d / (pixels + 1)` at distance `d` from it.

    So the inside keeps its whole strength and `pixels` rows around it are mixed; further out all
    is 0. Raises InputError as `PIXELS` says.
    """
    distance = _distance(mask, PIXELS.check("feather", pixels))
    return (1 - distance / (pixels + 1)).clip(0, 1).astype(np.float32)


def _distance(mask: Bool[np.ndarray, "height width"], most: int) -> Float[np.ndarray, "..."]:
    """The Euclidean distance of each pixel to the nearest inside; larger than `most` if it is.

    Along rows it is that to the last and the next pixel inside; across them the smallest of
    `sqrt(row**2 + k**2)` over the rows `k` away.
    """
    far, columns = most + 1, np.arange(mask.shape[1])
    last = np.maximum.accumulate(np.where(mask, columns, -far), axis=1)
    flipped = np.where(mask, columns, columns[-1] + far)[:, ::-1]
    following = np.minimum.accumulate(flipped, axis=1)[:, ::-1]
    row = np.minimum(np.minimum(columns - last, following - columns), far).astype(np.int32) ** 2
    square = row.copy()
    for k in range(1, min(far, len(mask))):
        np.minimum(square[k:], row[:-k] + k * k, out=square[k:])
        np.minimum(square[:-k], row[k:] + k * k, out=square[:-k])
    return np.sqrt(square)
