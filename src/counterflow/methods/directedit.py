"""DirectEdit (Yang and Ye, arXiv 2605.02417): the target is asked where the inversion asked.

Euler inversion asks the model at `x[k + 1]` for the step to `x[k]`. With `change[k] = x[k + 1] -
x[k]` kept, the edit asks at `z + change[k]`, so that the source prompt gives the source back
exactly. Defaults and arithmetic are those of the published code for one picture. On the bundled
model a third of the expressions and postures stay, and a fifth of the backgrounds that should
change; colours that no word mentions drift.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, Step
from counterflow.kinds import Number
from counterflow.methods.base import Inverting
from counterflow.methods.published import Published
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class DirectEdit(Published):
    """`z += ds * v_t(z + change[k], s[k])`."""

    name = "directedit"
    title = "DirectEdit"
    paper = "Yang and Ye, ICML 2026, arXiv 2605.02417"
    records = True
    attention_everywhere = True

    invert_guidance: float = setting(1.0, Number(0, 100), "Guidance while inverting.")
    guidance: float = setting(2.0, Number(0, 100), "Guidance of the target.")
    text_ratio: float = setting(0.0, Number(0, 1), "Share of steps with the text control.")
    attention_ratio: float = setting(0.3, Number(0, 1), "Share of steps with V from the source.")

    @property
    def inversion(self) -> Inverting:
        """Euler's, whose evaluations also give the source features."""
        return Inverting(self.steps, Euler(), self.invert_guidance)

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The source is asked again only for features that the inversion did not leave."""
        k, features = step.index, step.during("invert")
        missing = run.lacks(step, features)
        source = run.of_source(known[k + 1], features=features, wanted=missing)
        target = run.of_target(x + known.change(k), self.guidance, features)
        _, v = run.velocities(step, source, target)
        return x + run.grid.width(k) * v, None
