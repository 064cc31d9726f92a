"""RF-Solver-Edit: a second-order solver both ways, and V from the source.

Wang et al., ICML 2025, arXiv 2411.04746. V of `late` blocks, 18 of 57 in the published code, is
the inversion's. On the bundled model one edit in five changes a colour or a background unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterflow.backbones.base import block_count
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.flow import Latent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Inverting, Method
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.base import Solver
from counterflow.solvers.midpoint import Midpoint
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class RFSolver(Method):
    """The midpoint rule both ways."""

    name = "rf-solver"
    title = "RF-Solver-Edit"
    paper = "Wang et al., ICML 2025, arXiv 2411.04746"

    steps: int = setting(15, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(2.0, Number(0, 100), "Guidance of the target.")
    inject: int = setting(2, Integer(0, 1000), "First steps with V from the source.")
    late: float = setting(0.316, Number(0, 1), "Share of the blocks, the last ones, with it.")

    @property
    def solver(self) -> Solver:
        """Both ways."""
        return Midpoint()

    @property
    def sampler(self) -> Solver:
        """What the edit steps with."""
        return self.solver

    @property
    def inversion(self) -> Inverting:
        """By the same solver."""
        return Inverting(self.steps, self.solver, back=self.solver)

    @property
    def records(self) -> bool:
        """Features of the inversion's evaluations, where any are used."""
        return self.inject > 0

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """V of all rows by position, in late blocks, in the first steps."""
        blocks = range(block_count(run.backbone))
        last = blocks[-max(1, round(self.late * len(blocks))) :]
        return (AttentionControl(min(1, self.inject / self.steps), ("v",), "all", last),)

    def start(self, run: Run, known: Trajectory) -> tuple[Latent, Any, int]:
        """From the inverted noise."""
        return known[0], self.sampler.init(known[0]), 0

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: Any, step: Step
    ) -> tuple[Latent, Any]:
        """The solver towards the image; where the inversion left no V its step is made again."""
        k, velocity = step.index, run.velocity("target", self.guidance, recorded=True)
        if run.lacks(step, step.during("invert").at(step.sigma, self.solver.order - 1)):
            run.remake(self.solver, known, k, self.remembered(known, k))
        return self.sampler.step(velocity, x, state, step, run.grid[k], run.grid[k + 1])

    def remembered(self, known: Trajectory, k: int) -> Any:
        """The solver's state when the inversion came to interval `k`."""
        return None
