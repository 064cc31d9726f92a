"""Paired: FlowEdit in few steps, both prompts guided alike, small changes more than large ones.

Ours, after FlowEdit (arXiv 2412.08629), by what was measured (docs/decisions/0024). Both prompts
are asked at one noise and guided by one scale: what guidance does to any picture cancels. In the
first step both pictures are the same: the empty prompt cancels and is not asked, nor in the last;
how far the prompts are apart tells how much guidance the edit needs or, of a model that is told it,
how much the change grows. Cells that hardly changed are the picture's own. Poses leave remnants.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from counterflow.backbones.base import Backbone
from counterflow.flow import Grid, Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.masks import lengths
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class Paired(Method):
    """`z += ds * (v_t - v_s)`, both guided by `g`, and at the end `image + M * (z - image)`."""

    name = "paired"
    title = "Paired"
    paper = "Counterflow, after FlowEdit, arXiv 2412.08629"

    steps: int = setting(7, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(2.0, Number(0, 100), "Least guidance, under both prompts.")
    begin: float = setting(0.85, Number(0.01, 1), "Noise level where the edit begins.")
    unguided: int = setting(3, Integer(0, 1000), "Last steps that do not ask the empty prompt.")
    share: float = setting(0.1, Number(0, 1), "How much they grow of what guidance would.")
    clear: float = setting(
        3.5, Number(0, 100), "Largest first difference below which guidance grows; 0: it does not."
    )
    least: float = setting(
        0.4, Number(0, 100), "Change of a latent cell that is undone; twice as much is kept whole."
    )

    def grid(self, backbone: Backbone, size: tuple[int, int]) -> Grid:
        """Even parts of the model's own schedule, finely divided."""
        return backbone.grid(100, size).even(self.steps, self.begin)

    def step(
        self, run: Run, known: None, x: Latent, g: Tensor | None, step: Step
    ) -> tuple[Latent, Tensor | None]:
        """The state is each target's guidance, or what is made of its change; None at first."""
        z, guidance = run.noised(run.noise(), step.sigma), run.backbone.guidance(self.guidance)
        alone = guidance.linear and guidance.forwards == 2  # the empty prompt is asked apart
        told = not guidance.linear and guidance.forwards == 1  # so is the model, in one forward
        late = step.index >= run.grid.steps - self.unguided and not told
        empty, scale = alone and not late and g is not None, 1 if alone or late else self.guidance
        places = z, x + z - run.image
        asked = run.of_source(places[0], scale), run.of_target(places[1], scale)
        source, target, *rest = run.velocities(step, *asked, *map(run.of_negative, places * empty))
        change, share = target - source, 1.0 if g is None else self.share
        if g is None and (alone or told):
            g = self.growth(change / (scale or 1)) * (self.guidance if alone else 1)
        if g is not None:
            less = rest[1] - rest[0] if empty else change * (0 if told else 1 - share)
            change = g * change - (g - 1) * less
        x = x + run.grid.width(step.index) * change
        if step.index == run.grid.steps - 1 and self.least:
            run.found.append((lengths(x - run.image) / self.least - 1).clamp(0, 1))
            x = run.image + run.found[-1] * (x - run.image)
        return x, g

    def growth(self, change: Latent) -> Tensor:
        """Of guidance, by the root of the first step's largest difference, `[targets, 1, 1, 1]`."""
        most = lengths(change).amax((1, 2, 3), keepdim=True).clamp_min(1e-9)
        return (self.clear / most).sqrt().clamp(1, 2)

    def outside(self, run: Run, known: None, g: Tensor | None, k: int) -> OneLatent:
        """The picture."""
        return run.image
