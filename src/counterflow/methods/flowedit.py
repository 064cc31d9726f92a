"""FlowEdit: "Inversion-Free Text-Based Editing Using Pre-Trained Flow Models".

Kulikov et al., ICCV 2025, arXiv 2412.08629. The edit itself moves, from the picture to the edited
picture, along the difference of two velocities at noised pictures. Defaults and arithmetic are
those of the published code for SD3. On the bundled model its guidance of 13.5 draws all anew: faces
and outlines are smeared, colours gaudy; at little guidance, as tuned, a quarter of the expressions
stay and a new posture shows two heads in one.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.errors import InputError
from counterflow.flow import Latent, OneLatent, Step
from counterflow.kinds import Flag, Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class FlowEdit(Method):
    """`z += ds * (v_t(z + z_s - image) - v_s(z_s))` with `z_s = (1 - s) * image + s * noise`."""

    name = "flowedit"
    title = "FlowEdit"
    paper = "Kulikov et al., ICCV 2025, arXiv 2412.08629"

    steps: int = setting(50, Integer(1, 1000), "Steps of the grid, N.")
    n_max: int = setting(33, Integer(1, 1000), "How many last steps are made, of N at most.")
    n_min: int = setting(0, Integer(0, 1000), "How many last steps sample from the target.")
    n_avg: int = setting(1, Integer(1, 100), "Noises that a step averages over.")
    source_guidance: float = setting(3.5, Number(0, 100), "Guidance under the source prompt.")
    guidance: float = setting(13.5, Number(0, 100), "Guidance under the target prompt.")
    fixed_noise: bool = setting(False, Flag(), "The same noise in every step, not a new one.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_min > min(self.n_max, self.steps):
            raise InputError(
                f"n_min {self.n_min} is more than the {min(self.n_max, self.steps)} steps made"
            )

    def start(self, run: Run, known: None) -> tuple[Latent, list[OneLatent], int]:
        """From the picture itself, at the noise level of step N - n_max."""
        return run.image, self._noises(run), max(0, run.grid.steps - self.n_max)

    def step(
        self, run: Run, known: None, x: Latent, noises: list[OneLatent], step: Step
    ) -> tuple[Latent, list[OneLatent]]:
        """One step along the difference of velocities, or the last ones by plain sampling."""
        s, ds, left = step.sigma, run.grid.width(step.index), run.grid.steps - step.index
        if left > self.n_min:
            x = x + ds * self.change(run, x, noises, step)
            return x, noises if self.fixed_noise or left == 1 else self._noises(run)
        if left == self.n_min:  # from the edit to a noisy picture of it
            x = x + run.noised(noises[0], s) - run.image
        (v,) = run.velocities(step, run.of_target(x, self.guidance))
        return x + ds * v, noises

    def change(self, run: Run, x: Latent, noises: list[OneLatent], step: Step) -> Latent:
        """The difference of velocities, the mean over the noises."""
        total = 0 * x
        for noise in noises:
            z = run.noised(noise, step.sigma)
            source = run.of_source(z, self.source_guidance)
            target = run.of_target(x + z - run.image, self.guidance)
            v_source, v_target = run.velocities(step, source, target)
            total = total + (v_target - v_source) / self.n_avg
        return total

    def outside(self, run: Run, known: None, noises: list[OneLatent], k: int) -> OneLatent:
        """The picture, or while sampling the noised picture."""
        sampling = run.grid.steps - k < self.n_min
        return run.noised(noises[0], run.grid[k]) if sampling else run.image

    def _noises(self, run: Run) -> list[OneLatent]:
        return [run.noise() for _ in range(self.n_avg)]
