"""The two branches of an edit: the source on its trajectory, the target under control."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.controls.blend import blend
from counterflow.controls.text import TextControl
from counterflow.edit.settings import EditSettings
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
        if not evaluate:
            # A drifting branch that nothing needs any more may stay where it is.
            self.x = self.trajectory[k + 1] if self.compensated else self.x
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
    """Starts where the source starts and is steered by its own prompts and the controls."""

    trajectory: Trajectory
    field: Field
    x: Latent
    """Where the branch is; one row for each target."""
    mask: Tensor | None = None
    passed: list[Latent] = dataclasses.field(default_factory=list)
    """Where it has been."""

    def step(self, step: Step, eps: Latent | None) -> None:
        """One Euler step; outside the mask the branch stays on the source's trajectory."""
        k = step.index
        velocity = self.field(self.x, step)
        if eps is not None:
            velocity = velocity + eps
        self.passed.append(self.x)
        self.x = self.x + self.trajectory.grid.width(k) * velocity
        if self.mask is not None:
            self.x = blend(self.x, self.trajectory[k + 1], self.mask)
        if not torch.isfinite(self.x).all():
            raise NumericsError(f"the edit's latent at step {k} is not finite; use a wider dtype")

    def trajectories(self) -> list[Trajectory]:
        """Each target's latents, from the noise end; before the branch began, the source's."""
        skipped = self.trajectory.grid.steps - len(self.passed)
        before = self.trajectory.latents[:skipped]
        rows = torch.stack([*self.passed, self.x], 1)
        return [Trajectory(torch.cat([before, row]), self.trajectory.grid) for row in rows]


def controls_of(settings: EditSettings) -> list[Control]:
    """The controls that an edit's settings ask for."""
    return [
        TextControl(
            settings.text_ratio,
            settings.text_blocks,
            settings.word_windows,
            settings.text_padding,
        ),
        AttentionControl(
            settings.attention_ratio,
            settings.attention_parts,
            settings.attention_tokens,
            settings.attention_blocks,
        ),
    ]
