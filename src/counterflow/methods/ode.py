"""The plain edit: invert by a solver under the source prompt, sample under the target prompt.

On the bundled model unmentioned colours drift, pink to red, and a sixth of the expressions stay; at
times `euler` and `midpoint` change a whole background unasked, day to night. In few steps, as
tuned, these two leave a quarter of the expressions, and `ddim` one background in seven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from counterflow.flow import Latent, Step
from counterflow.kinds import Choice, Number
from counterflow.methods.base import Inverting, Method
from counterflow.methods.run import Run
from counterflow.methods.shared import check_solver
from counterflow.settings import setting
from counterflow.solvers.base import SAMPLERS, solver
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class ODE(Method):
    """One solver both ways, as DDIM inversion and DDIM sampling are for diffusion models."""

    name = "ode"
    title = "Inversion by a solver, then the target prompt alone"
    paper = "Song et al., ICLR 2021, arXiv 2010.02502, for flows"
    follows = True

    solver: str = setting("euler", Choice(*SAMPLERS), "The solver, both ways.")
    invert_guidance: float = setting(1.0, Number(0, 100), "Guidance while inverting.")
    guidance: float = setting(2.0, Number(0, 100), "Guidance of the target.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_solver(self.solver, self.steps)

    @property
    def inversion(self) -> Inverting:
        """The solver towards the noise."""
        rule = solver(self.solver)
        # Towards the image DDIM is Euler's rule, so both can share what Euler's rule samples.
        back = rule if rule.order > 1 else Euler()
        return Inverting(self.steps, rule, self.invert_guidance, back=back)

    def start(self, run: Run, known: Trajectory) -> tuple[Latent, Any, int]:
        """From the inverted noise."""
        x = known[0] if run.begin is None else run.begin
        return x, solver(self.solver).init(x), 0

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: Any, step: Step
    ) -> tuple[Latent, Any]:
        """The solver towards the image, under the target prompt."""
        k, velocity = step.index, run.velocity("target", self.guidance)
        return solver(self.solver).step(velocity, x, state, step, run.grid[k], run.grid[k + 1])
