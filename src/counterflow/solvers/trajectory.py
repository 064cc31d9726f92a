"""The loop over a grid, the trajectory it leaves, and velocity compensation (stage II)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.errors import NumericsError
from counterflow.flow import Grid, Latent, Step, Velocity
from counterflow.solvers.base import Solver

StepDone = Callable[[Step], None]
"""Called after each step."""


@dataclass(frozen=True)
class Trajectory:
    """Latents aligned with a grid: `trajectory[first]` is the noisiest, the last the image.

    A partial trajectory begins at `first` > 0, as when a picture is inverted to a noise level
    below pure noise. Raises ValueError if the latents do not fill the grid from there, or
    queries not its intervals.
    """

    latents: Float[Tensor, "n channels height width"]
    grid: Grid
    first: int = 0
    queries: Float[Tensor, "m channels height width"] | None = None
    """Where the inversion asked the model for each interval, if not at the cleaner latent."""

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.grid.steps:
            raise ValueError(f"a trajectory begins within its grid, not at {self.first}")
        if len(self.latents) != self.grid.steps + 1 - self.first:
            raise ValueError("a trajectory has one latent more than its grid has steps")
        if self.queries is not None and len(self.queries) != len(self.latents) - 1:
            raise ValueError("a trajectory has a query for each of its steps")

    def __getitem__(self, k: int) -> Latent:
        """Latent at `grid[k]`, `[1, c, h, w]`; -1 is the image. IndexError before `first`."""
        place = k if k < 0 else k - self.first
        if not -len(self.latents) <= place < len(self.latents) or (k >= 0 and place < 0):
            raise IndexError(f"this trajectory has latents {self.first} to {self.grid.steps}")
        return self.latents[place][None]

    def asked(self, k: int) -> Latent:
        """Where the inversion asked the model for interval `k`; Euler's asked at `x[k + 1]`."""
        return self[k + 1] if self.queries is None else self.queries[k - self.first][None]

    def joined(self, latents: Float[Tensor, "m channels height width"]) -> Trajectory:
        """This trajectory up to where other latents begin, which then go on to the image."""
        before = self.latents[: max(0, len(self.latents) - len(latents))]
        first = self.grid.steps + 1 - len(before) - len(latents)
        return Trajectory(torch.cat([before, latents]), self.grid, first)

    def change(self, k: int) -> Latent:
        """`x[k + 1] - x[k]` on the stored latents."""
        return self[k + 1] - self[k]

    def velocity(self, k: int, x: Latent | None = None) -> Latent:
        """The velocity that leads from `x` (default: the stored latent) to stored latent `k + 1`.

        The sum `v + eps[k]` of FTEdit's stage II, whatever the model's own velocity `v` is.
        """
        return (self[k + 1] - (self[k] if x is None else x)) / self.grid.width(k)

    def before(self, k: int) -> Latent | None:
        """The velocity that an inversion came to interval `k` with; None at the image."""
        return self.velocity(k + 1) if k + 1 < self.grid.steps else None

    def compensation(self, k: int, x: Latent, velocity: Latent) -> Latent:
        """FTEdit's `eps[k]`: what the velocity at `x` lacks to reach stored latent `k + 1`."""
        return self.velocity(k, x) - velocity

    def residual(self, k: int, velocity: Latent) -> float:
        """Relative fixed-point residual `‖eps[k]‖ / ‖v‖` of a velocity at stored latent `k`."""
        eps = self.compensation(k, self[k], velocity)
        return float(eps.norm() / velocity.norm().clamp_min(1e-12))


def invert(
    solver: Solver,
    velocity: Velocity,
    image: Latent,
    grid: Grid,
    stop: int = 0,
    done: StepDone | None = None,
) -> Trajectory:
    """From the image to the noise level `grid[stop]`: a solver's steps over the reversed grid.

    Raises NumericsError, naming the step, when a latent is not finite.
    """
    latents = [image.float()]
    state = solver.init(latents[0])
    for k in grid.toward_noise(stop):
        step = grid.step(k, "invert")
        x, state = solver.step(velocity, latents[-1], state, step, grid[k + 1], grid[k])
        latents.append(finite(x, step))
        if done is not None:
            done(step)
    return Trajectory(torch.cat(latents[::-1]), grid, stop)


def generate(
    solver: Solver, velocity: Velocity, noise: Latent, grid: Grid, done: StepDone | None = None
) -> Float[Tensor, "n batch channels height width"]:
    """From noise to images, by a solver's steps over the grid; every latent, noise first.

    Raises NumericsError, naming the step, when a latent is not finite.
    """
    latents = [noise.float()]
    state = solver.init(latents[0])
    for k in grid.toward_image():
        step = grid.step(k, "generate")
        x, state = solver.step(velocity, latents[-1], state, step, grid[k], grid[k + 1])
        latents.append(finite(x, step))
        if done is not None:
            done(step)
    return torch.stack(latents)


def reconstruct(
    velocity: Velocity,
    known: Trajectory,
    compensate: bool,
    solver: Solver,
    done: StepDone | None = None,
) -> tuple[Latent, dict[int, float]]:
    """From a trajectory's noise to the image again, by a solver; and the residual of each step.

    With `compensate` it steps by Euler's rule, every velocity brought back onto the trajectory
    (FTEdit, stage II), which is exact to rounding; residuals are measured only then. Raises
    NumericsError as `generate` does.
    """
    residuals: dict[int, float] = {}
    x = landed = known[known.first]
    state = solver.init(x)
    for k in known.grid.toward_image(known.first):
        step = known.grid.step(k)
        if compensate:
            v = velocity(x, step)
            residuals[k] = known.residual(k, v)
            landed = x + known.grid.width(k) * (v + known.compensation(k, x, v))
            x = known[k + 1]  # equal to rounding, which then does not add up over the steps
        else:
            x, state = solver.step(velocity, x, state, step, known.grid[k], known.grid[k + 1])
            landed = x
        finite(landed, step)
        if done is not None:
            done(step)
    return landed, residuals


def finite(x: Latent, step: Step) -> Latent:
    """The latent itself; NumericsError, naming the step, if a value of it is not finite."""
    if not torch.isfinite(x).all():
        raise NumericsError(
            f"the latent at step {step.index} of {step.count} ({step.stage}) is not finite; "
            "use a wider dtype (--dtype float32 or bfloat16)"
        )
    return x
