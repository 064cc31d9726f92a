"""Paired: FlowEdit in few steps, both prompts guided alike, begun below pure noise.

Ours, after FlowEdit (arXiv 2412.08629), by what was measured on the bundled model
(docs/decisions/0024). Source and target are asked at the same noise and guided by the same scale,
so that what guidance does to any picture cancels. The noise levels are even parts of the model's
own schedule from `begin` down: above it the place of things is lost, and a pipeline's own last
interval is a sliver that costs as much as any. In the first step, where both are still the same
picture, what the empty prompt says of them cancels and is not asked. At the end cells that hardly
changed are the picture's own. Equal prompts give the picture back exactly. It is bad at poses,
which leave blurred remnants, and at expressions, of which one in eight stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from counterflow.backbones.base import Backbone
from counterflow.controls.blend import smoothed
from counterflow.flow import Grid, Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.flowedit import FlowEdit
from counterflow.methods.masks import Map
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class Paired(FlowEdit):
    """FlowEdit's `z += ds * (v_t - v_s)`, and at the end `image + M * (z - image)`."""

    name = "paired"
    title = "Paired"
    paper = "Counterflow, after FlowEdit, arXiv 2412.08629"

    steps: int = setting(4, Integer(1, 1000), "Steps of the grid, N.")
    n_max: int = setting(1000, Integer(1, 1000), "How many last steps are made, of N at most.")
    source_guidance: float = setting(2.0, Number(0, 100), "Guidance under the source prompt.")
    guidance: float = setting(2.0, Number(0, 100), "Guidance under the target prompt.")
    unguided: int = setting(0, Integer(0, 1000), "How many last steps go without guidance.")
    begin: float = setting(0.8, Number(0.01, 1), "Noise level where the edit begins.")
    least: float = setting(
        0.3, Number(0, 100), "Change of a latent cell that is undone; twice as much is kept whole."
    )

    def grid(self, backbone: Backbone, size: tuple[int, int]) -> Grid:
        """Even parts of the model's own schedule, finely divided."""
        return backbone.grid(100, size).even(self.steps, self.begin)

    def step(
        self, run: Run, known: None, x: Latent, noises: list[OneLatent], step: Step
    ) -> tuple[Latent, list[OneLatent]]:
        """FlowEdit's, and after the last one what hardly changed is undone."""
        x, noises = super().step(run, known, x, noises, step)
        if step.index == run.grid.steps - 1 and self.least:
            run.found.append(self.changed(x - run.image))
            x = run.image + run.found[-1] * (x - run.image)
        return x, noises

    def change(self, run: Run, x: Latent, noises: list[OneLatent], step: Step) -> Latent:
        """FlowEdit's difference, at this step's guidance."""
        left, scale = run.grid.steps - step.index, run.backbone.guidance(self.guidance)
        guided = left > self.unguided
        same = left == min(self.n_max, run.grid.steps) and self.source_guidance == self.guidance
        if guided and not (same and scale.linear):
            return super().change(run, x, noises, step)
        plain = replace(self, source_guidance=1.0, guidance=1.0)
        apart = FlowEdit.change(plain, run, x, noises, step)
        return scale(apart, 0 * apart) if guided else apart

    def changed(self, d: Latent) -> Map:
        """0 where the change's length, a mean of 3x3 cells, is `least` or less, 1 from twice it."""
        return (smoothed(d.norm(dim=1, keepdim=True)) / self.least - 1).clamp(0, 1)
