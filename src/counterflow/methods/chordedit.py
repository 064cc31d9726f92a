"""ChordEdit: one long step along a smoothed difference, for models of few steps.

Lu et al., CVPR 2026, arXiv 2602.19083; the flow form of the published code's arithmetic, which is
in epsilon. On the bundled model its pictures are blurred: nearly half of the expressions stay,
a new posture is often a smear of old and new, and what is taken away leaves a haze.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class ChordEdit(Method):
    """`x += strength * (delta R(s) + s R(s - delta)) / (s + delta)`, `R(s) = -s (v_t - v_s)`."""

    name = "chordedit"
    title = "ChordEdit"
    paper = "Lu et al., CVPR 2026, arXiv 2602.19083"

    steps: int = setting(1, Integer(1, 1), "One step, whose noise levels are the method's own.")
    sigma: float = setting(0.9, Number(0.01, 1), "Noise level of the step.")
    delta: float = setting(0.15, Number(0, 1), "How much cleaner the second noise level is.")
    strength: float = setting(1.0, Number(0, 10), "Length of the step.")
    last_sigma: float = setting(0.3, Number(0, 1), "Noise level of the last clean-up; 0 for none.")
    n_avg: int = setting(1, Integer(1, 100), "Noises that are averaged over.")
    guidance: float = setting(1.0, Number(0, 100), "Guidance of both velocities.")

    def step(
        self, run: Run, known: None, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The chord, then a prediction of the clean picture under the target prompt."""
        noises = [run.noise() for _ in range(self.n_avg)]
        s = self.sigma
        delta = self.delta if self.delta < s else s - 1 / 999
        first, second = (self.change(run, x, t, noises, step) for t in (s, s - delta))
        x = x + self.strength * (delta * first + s * second) / (s + delta)
        if self.last_sigma:
            s = min(self.last_sigma, s)
            z = (1 - s) * x + s * noises[0]
            (v,) = run.velocities(step.at(s, 2), run.of_target(z, self.guidance))
            x = z - s * v
        return x, None

    def change(self, run: Run, x: Latent, s: float, noises: list[OneLatent], step: Step) -> Latent:
        """`R(s)`: the difference of the two predicted pictures; all of `x` is the picture."""
        total = 0 * x
        for noise in noises:
            z = (1 - s) * x + s * noise
            v_s, v_t = run.velocities(
                step.at(s), run.of_source(z[:1], self.guidance), run.of_target(z, self.guidance)
            )
            total = total - s * (v_t - v_s) / len(noises)
        return total

    def outside(self, run: Run, known: None, state: None, k: int) -> OneLatent:
        """The picture."""
        return run.image
