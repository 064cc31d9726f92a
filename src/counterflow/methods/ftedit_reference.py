"""FTEdit exactly as its published code computes it (arXiv 2411.15843), for whoever compares.

On the same latents and embeddings it gives that code's trajectories and edits to rounding. What
differs from `ftedit`, and why that differs, is in `docs/paper.md`. On the bundled model, as tuned,
it is bad at taking things away, of which a quarter stay, at expressions, of which a third stay,
and at undoing pixel art.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, Step
from counterflow.kinds import Integer, Number, Window
from counterflow.methods.base import Inverting
from counterflow.methods.published import Published
from counterflow.methods.run import Run
from counterflow.methods.shared import Skipping
from counterflow.settings import setting
from counterflow.solvers.euler import Euler
from counterflow.solvers.fixed_point import FixedPoint
from counterflow.solvers.trajectory import Trajectory

AVERAGED = 5
"""The mean takes in so many evaluations at most; further iterations then change nothing."""


@dataclass(frozen=True)
class FTEditReference(Skipping, Published):
    """Skipped steps are not inverted either, and they move the attention window along."""

    name = "ftedit-reference"
    title = "FTEdit as its published code computes it"
    paper = "Xu et al., CVPR 2025, arXiv 2411.15843, code of the same name"

    iterations: int = setting(3, Integer(0, 1000), "Fixed-point iterations, I.")
    invert_guidance: float = setting(1.0, Number(0, 100), "Guidance while inverting.")
    guidance: float = setting(2.0, Number(0, 100), "Guidance of the target.")

    @property
    def inversion(self) -> Inverting:
        """Stage I, down to the step where the edit begins."""
        last = min(self.iterations, AVERAGED - 1)
        solver = FixedPoint(self.iterations, True, (0, last)) if self.iterations else Euler()
        return Inverting(self.steps, solver, self.invert_guidance, stop=self.skip_steps)

    @property
    def attention_window(self) -> Window:
        """It counts the steps that are made."""
        shift = self.skip_steps / self.steps
        return shift, min(1.0, self.rounded(self.attention_ratio) + shift)

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The source, compensated, is on its trajectory and gives its features alone."""
        source = run.of_source(known[step.index], wanted=run.lacks(step))
        _, v = run.velocities(step, source, run.of_target(x, self.guidance))
        return x + run.grid.width(step.index) * v, None
