"""SDEdit: noise the picture part of the way, then sample under the target prompt.

Meng et al., ICLR 2022, arXiv 2108.01073, in its form for flows: all that the noise hides is drawn
anew. On the bundled model half of the edits lose something that should stay: faces, patterns and
colours are drawn anew, and the picture is smeared; from less noise, as tuned, nearly half of the
creatures that are to sit down or stand up do not.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class SDEdit(Method):
    """`x = (1 - s) * image + s * noise` at step N - n_start, then guided Euler."""

    name = "sdedit"
    title = "SDEdit"
    paper = "Meng et al., ICLR 2022, arXiv 2108.01073"

    n_start: int = setting(20, Integer(1, 1000), "Last steps of the grid that are made.")
    guidance: float = setting(7.0, Number(0, 100), "Guidance of the target.")

    def start(self, run: Run, known: None) -> tuple[OneLatent, OneLatent, int]:
        """From the noised picture."""
        first, noise = max(0, run.grid.steps - self.n_start), run.noise()
        return run.noised(noise, run.grid[first]), noise, first

    def step(
        self, run: Run, known: None, x: Latent, noise: OneLatent, step: Step
    ) -> tuple[Latent, OneLatent]:
        """`x += ds * v(x)`."""
        (v,) = run.velocities(step, run.of_target(x, self.guidance))
        return x + run.grid.width(step.index) * v, noise

    def outside(self, run: Run, known: None, noise: OneLatent, k: int) -> OneLatent:
        """The picture under the same noise."""
        return run.noised(noise, run.grid[k])
