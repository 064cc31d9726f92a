"""Stable Flow: K and V of the source in the blocks that decide most of the picture, in all steps.

Avrahami et al., CVPR 2025, arXiv 2411.14430. The latent is scaled up a little before it is
inverted, and edits stay at that scale. The published code puts the source back at another level
than the step's: the cleanest in the second step, later two levels noisier; `aligned` is the meant
form. Made for FLUX: with classifier-free guidance both halves take the source's K and V. On the
bundled model a fifth of the expressions and backgrounds stay and unmentioned colours drift, pink to
red; as tuned its pictures are nearly those of Euler inversion alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from counterflow.backbones.base import Backbone
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.flow import Half, Latent, Step
from counterflow.kinds import Flag, Integer, Number, Numbers
from counterflow.methods.base import EULER, Inverting, Method
from counterflow.methods.run import Run
from counterflow.methods.shared import check_blocks, check_sites
from counterflow.methods.vital import vital_blocks
from counterflow.settings import setting
from counterflow.solvers.trajectory import Trajectory, invert


@dataclass(frozen=True)
class StableFlow(Method):
    """Euler beside the source, whose place in each step is known."""

    name = "stable-flow"
    title = "Stable Flow"
    paper = "Avrahami et al., CVPR 2025, arXiv 2411.14430"

    steps: int = setting(50, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(3.0, Number(0, 100), "Guidance of the target.")
    nudge: float = setting(1.15, Number(0.1, 10), "The latent is scaled by this.")
    blocks: tuple[int, ...] | None = setting(
        None, Numbers("vital"), "Blocks with K and V from the source; all where none is known."
    )
    aligned: bool = setting(False, Flag(), "The source is at the step's own level.")

    @property
    def inversion(self) -> Inverting:
        """Euler from the scaled latent."""
        return Inverting(self.steps, EULER, own=(self.name, self.nudge))

    def check_model(self, backbone: Backbone) -> None:
        """Refuse a model without K and V, or without the blocks."""
        check_sites(backbone, self.name, "image.k", "image.v")
        check_blocks(backbone, self.blocks or ())

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """Image K and V in the vital blocks."""
        blocks = vital_blocks(run.backbone.identity) if self.blocks is None else self.blocks
        half: Half | None = "conditional" if run.guided(self.guidance) else None
        return (AttentionControl(1.0, ("k", "v"), blocks=blocks, unconditional=half),)

    def invert(self, run: Run) -> Trajectory:
        """The last latent is the picture itself, which no step asks for."""
        velocity, x = run.velocity("source"), self.nudge * run.image
        known = invert(EULER, velocity, x, run.grid, 0, run.done)
        return Trajectory(torch.cat([known.latents[:-1], run.image]), run.grid)

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The source is evaluated for its features alone."""
        k, features = step.index, step.at(step.sigma, int(self.aligned))
        place = k if self.aligned or k == 0 else (k - 2) % run.grid.steps
        source = run.of_source(known[place], 1, features, run.lacks(step, features))
        _, v = run.velocities(step, source, run.of_target(x, self.guidance, features))
        return x + run.grid.width(k) * v, None
