"""The two branches of an edit: the source on its trajectory, the target under control."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterflow.controls.blend import blend
from counterflow.errors import NumericsError
from counterflow.flow import Field, Latent, Step
from counterflow.inversion.trajectory import Trajectory, compensation, residual


@dataclass
class SourceBranch:
    """Follows the stored trajectory, by velocity compensation (stage II) or drifting without it.

    A compensated branch's latents are known beforehand, so it is evaluated only where its
    features or its compensation are asked for.
    """

    trajectory: Trajectory
    field: Field
    compensated: bool
    x: Latent
    """Where the branch is."""
    residuals: dict[int, float]
    landed: Latent | None = None
    """Where the last evaluated step led, before the branch was put back on the trajectory."""

    def step(self, step: Step, evaluate: bool) -> Latent | None:
        """Move to the next latent; returns `eps[k]` if the velocity was evaluated."""
        k, grid = step.index, self.trajectory.grid
        if self.compensated and not evaluate:
            self.x = self.trajectory[k + 1]
            return None
        velocity = self.field(self.x, step)
        eps = compensation(self.trajectory, k, self.x, velocity)
        if not self.compensated:
            self.x = self.landed = self.x + grid.width(k) * velocity
            return eps
        self.residuals[k] = residual(self.trajectory, k, velocity)
        self.landed = self.x + grid.width(k) * (velocity + eps)
        # The same to rounding, and then no result depends on which features were known.
        self.x = self.trajectory[k + 1]
        return eps


@dataclass
class TargetBranch:
    """Starts where the source starts and is steered by its own prompt and the controls."""

    trajectory: Trajectory
    field: Field
    x: Latent
    mask: Tensor | None = None

    def step(self, step: Step, eps: Latent | None) -> None:
        """One Euler step; outside the mask the branch stays on the source's trajectory."""
        k = step.index
        velocity = self.field(self.x, step)
        if eps is not None:
            velocity = velocity + eps
        self.x = self.x + self.trajectory.grid.width(k) * velocity
        if self.mask is not None:
            self.x = blend(self.x, self.trajectory[k + 1], self.mask)
        if not torch.isfinite(self.x).all():
            raise NumericsError(f"the edit's latent at step {k} is not finite; use a wider dtype")
