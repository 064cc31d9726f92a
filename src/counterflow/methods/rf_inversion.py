"""RF-Inversion: dynamic optimal control of both directions.

Rout et al., ICLR 2025, arXiv 2410.10792. While inverting, the flow is drawn to one chosen noise;
while editing, in a window of steps, to the picture. Noise levels are the grid's own, as the paper
means it; the authors' pipeline tells the network another time than it steps to while inverting. On
the bundled model the whole picture is smeared, a new posture most, and a tenth of the expressions
stay; in few steps, as tuned, a fifth of the new hats and signs are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, Step, within
from counterflow.kinds import Integer, Number, Share, Window
from counterflow.methods.base import Inverting, Method
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory, invert


@dataclass(frozen=True)
class RFInversion(Method):
    """`v + eta * ((z - image) / s - v)` in place of `v`, and the same towards the noise."""

    name = "rf-inversion"
    title = "RF-Inversion"
    paper = "Rout et al., ICLR 2025, arXiv 2410.10792"

    steps: int = setting(28, Integer(1, 1000), "Steps of the grid, N.")
    gamma: float = setting(0.5, Number(0, 1), "Pull to the chosen noise while inverting.")
    eta: float = setting(0.9, Number(0, 1), "Pull to the picture while editing.")
    eta_ratio: Window = setting(0.25, Share(), "Steps with the pull to the picture.")
    guidance: float = setting(3.5, Number(0, 100), "Guidance of the target.")

    @property
    def inversion(self) -> Inverting:
        """Euler under the null prompt, told the cleaner end, and pulled."""
        own = (self.name, self.gamma)
        return Inverting(self.steps, Euler(clean=True), prompt="negative", own=own)

    def invert(self, run: Run) -> Trajectory:
        """`u + gamma * ((noise - y) / (1 - s) - u)` at the cleaner end of each interval."""
        noise, velocity = run.noise(), run.velocity("negative")

        def pulled(y: Latent, step: Step) -> Latent:
            u = velocity(y, step)
            return u + self.gamma * ((noise - y) / (1 - step.sigma) - u)

        return invert(self.inversion.solver, pulled, run.image, run.grid, done=run.done)

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """Euler along the pulled velocity."""
        (v,) = run.velocities(step, run.of_target(x, self.guidance))
        if within(self.eta_ratio, step):
            v = v + self.eta * ((x - run.image) / step.sigma - v)
        return x + run.grid.width(step.index) * v, None
