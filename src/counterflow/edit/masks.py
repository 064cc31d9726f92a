"""A mask found from a model: where the velocities of two prompts differ on one trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from counterflow.controls.blend import difference_mask
from counterflow.flow import Grid
from counterflow.methods.run import Run
from counterflow.solvers.trajectory import Trajectory

SIGMAS = (0.2, 0.9)
"""Noise levels that are compared: above them little of the layout is decided, below them all is."""


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
