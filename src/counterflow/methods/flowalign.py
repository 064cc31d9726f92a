"""FlowAlign: FlowEdit guided from the source prompt to the target's, with a pull to the source.

Kim et al., arXiv 2505.23145. Arithmetic and defaults are those of the published code for SD3; its
pull does not shrink with the step. On the bundled model its guidance of 13.5 blurs what it changes,
a whole background most, and a fifth of the styles and expressions fail; at little guidance, as
tuned, a new posture shows two heads in one.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class FlowAlign(Method):
    """Two latents under the same noise: `q` of the picture and `p` of the edit."""

    name = "flowalign"
    title = "FlowAlign"
    paper = "Kim et al., arXiv 2505.23145"

    steps: int = setting(33, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(13.5, Number(0, 100), "From the source's velocity to the target's.")
    weight: float = setting(0.01, Number(0, 1), "Pull of the predicted edit to the picture.")

    def step(
        self, run: Run, known: None, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """`x += ds * (v_p - v_q) + weight * ((q - s * v_q) - (p - s * v_p))`."""
        s, ds = step.sigma, run.grid.width(step.index)
        q = run.noised(run.noise(), s)
        p = x + q - run.image
        v_q, v_source, v_target = run.velocities(
            step, run.of_source(q), run.of_source(p), run.of_target(p)
        )
        v_p = v_source + self.guidance * (v_target - v_source)
        return x + ds * (v_p - v_q) + self.weight * ((q - s * v_q) - (p - s * v_p)), None

    def outside(self, run: Run, known: None, state: None, k: int) -> OneLatent:
        """The picture."""
        return run.image
