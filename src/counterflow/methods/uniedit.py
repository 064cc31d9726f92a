"""UniEdit-Flow: a velocity between source's and target's, by where they differ.

Jiao et al., arXiv 2504.13109. UniInv inverts under the null prompt, only as far as the edit needs.
Arithmetic and defaults are those of the published code; its SD3 code takes the mask from the signed
difference, its FLUX code and the paper from the magnitude. On the bundled model changes of style
are blocks of gaudy colour, new things fragments, and one change of colour in eight fails; at a
smaller `omega`, as tuned, a quarter of what is to be taken away stays as a haze.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, Step
from counterflow.kinds import Flag, Integer, Number
from counterflow.methods.base import Inverting, Method
from counterflow.methods.masks import scaled
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.trajectory import Trajectory
from counterflow.solvers.uniinv import UniInv


@dataclass(frozen=True)
class UniEdit(Method):
    """`z += ds * (m v_t + (1 - m) v_s + omega (1 + m)(v_t - v_s))`."""

    name = "uniedit"
    title = "UniEdit-Flow"
    paper = "Jiao et al., arXiv 2504.13109"

    steps: int = setting(15, Integer(1, 1000), "Steps of the grid, N.")
    alpha: float = setting(0.6, Number(0.01, 1), "Share of the steps that are inverted and edited.")
    omega: float = setting(5.0, Number(0, 100), "Weight of the difference.")
    guidance: float = setting(1.0, Number(0, 100), "Guidance of both velocities of the edit.")
    zero_start: bool = setting(False, Flag(), "Save the first evaluation of the inversion.")
    signed: bool = setting(True, Flag(), "The mask from the signed difference, not its magnitude.")

    @property
    def skipped(self) -> int:
        """Steps at the noise end that are not made."""
        return self.steps - max(1, int(self.alpha * self.steps))

    @property
    def inversion(self) -> Inverting:
        """UniInv under the null prompt."""
        return Inverting(self.steps, UniInv(self.zero_start), prompt="negative", stop=self.skipped)

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The mask `m` is the difference scaled between its least and its largest value."""
        v_s, v_t = run.velocities(
            step, run.of_source(x, self.guidance), run.of_target(x, self.guidance)
        )
        change = v_t - v_s
        m = scaled((change if self.signed else change.abs()).mean(1, keepdim=True), 1e-7)
        run.found.append(m)
        v = m * v_t + (1 - m) * v_s + self.omega * (1 + m) * change
        return x + run.grid.width(step.index) * v, None
