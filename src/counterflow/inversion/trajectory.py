"""The loop over a grid, the trajectory it leaves, and velocity compensation (stage II)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.errors import NumericsError
from counterflow.flow import Field, Grid, Latent, Step
from counterflow.inversion.solvers import Solver


@dataclass(frozen=True)
class Trajectory:
    """`grid.steps + 1` latents aligned with a grid: `latents[0]` is noise, the last the image."""

    latents: Float[Tensor, "n channels height width"]
    grid: Grid

    def __post_init__(self) -> None:
        if len(self.latents) != self.grid.steps + 1:
            raise ValueError("a trajectory has one latent more than its grid has steps")

    def __getitem__(self, k: int) -> Latent:
        """Latent at `grid[k]`, `[1, c, h, w]`."""
        return self.latents[k][None]

    def velocity(self, k: int, x: Latent | None = None) -> Latent:
        """The velocity that leads from `x` (default: the stored latent) to stored latent `k + 1`.

        The sum `v + eps[k]` of FTEdit's stage II, whatever the model's own velocity `v` is.
        """
        return (self[k + 1] - (self[k] if x is None else x)) / self.grid.width(k)


def invert(solver: Solver, field: Field, image: Latent, grid: Grid) -> Trajectory:
    """From the image to noise: the solver's steps over the reversed grid.

    Raises NumericsError, naming the step, when a latent is not finite.
    """
    latents = [image.float()]
    state = solver.init(image)
    for k in grid.toward_noise():
        where = Step(k, grid.steps, grid[k], "source", "invert")
        x, state = solver.step(field, latents[-1], state, where, grid[k + 1], grid[k])
        latents.append(_finite(x, where))
    return Trajectory(torch.cat(latents[::-1]), grid)


def generate(solver: Solver, field: Field, noise: Latent, grid: Grid) -> Trajectory:
    """From noise to the image, recording every latent."""
    latents = [noise.float()]
    state = solver.init(noise)
    for k in grid.toward_image():
        where = Step(k, grid.steps, grid[k], "target", "generate")
        x, state = solver.step(field, latents[-1], state, where, grid[k], grid[k + 1])
        latents.append(_finite(x, where))
    return Trajectory(torch.cat(latents), grid)


def compensation(trajectory: Trajectory, k: int, x: Latent, velocity: Latent) -> Latent:
    """`eps[k]`: what the source's velocity at `x` lacks to reach stored latent `k + 1`."""
    return trajectory.velocity(k, x) - velocity


def residual(trajectory: Trajectory, k: int, velocity: Latent) -> float:
    """Relative fixed-point residual `‖eps[k]‖ / ‖v‖` at the stored latent `k`."""
    eps = compensation(trajectory, k, trajectory[k], velocity)
    return float(eps.norm() / velocity.norm().clamp_min(1e-12))


def _finite(x: Latent, where: Step) -> Latent:
    if not torch.isfinite(x).all():
        raise NumericsError(
            f"the latent at step {where.index} of {where.count} ({where.stage}) is not finite; "
            "use a wider dtype (--dtype float32 or bfloat16)"
        )
    return x
