"""Paired predictions: source and target are asked at one place, and what differs is taken on.

Ours. Euler inversion asks the model at `x[k + 1]`, told `s[k]`; what it answered is kept. With `d`
the change so far, the target is asked at `x[k + 1] + d` (DirectEdit's query, arXiv 2605.02417); the
pictures predicted from both differ by `D = d - s (v_t - v_s)`. Each step takes `d` a part of the
way to `D`: FlowEdit's is `|ds| / s`, this one `rate` times as much, never more than all. At the
end cells that hardly changed are the picture's own. Equal prompts give the source back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import avg_pool2d, pad

from counterflow.backbones.base import Backbone
from counterflow.flow import Grid, Latent, Step
from counterflow.kinds import Integer, Number, Share, Window
from counterflow.methods.base import Inverting
from counterflow.methods.masks import Map
from counterflow.methods.run import Run
from counterflow.methods.shared import Controlled
from counterflow.settings import setting
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class Paired(Controlled):
    """`d += min(1, rate * |ds| / s) * (D - d)` with `D = d - s * (v_t(q + d) - v_s(q))`."""

    name = "paired"
    title = "Paired predictions"
    paper = "Counterflow"

    steps: int = setting(10, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(1.0, Number(0, 100), "Guidance of source and target alike.")
    rate: float = setting(1.25, Number(0.01, 100), "How fast the predicted change is taken on.")
    least: float = setting(
        0.3, Number(0, 100), "Change of a latent cell that is left; twice as much is made in full."
    )
    text_ratio: Window = setting(0.0, Share(), "Steps with the text control.")

    @property
    def inversion(self) -> Inverting:
        """Euler's, on even noise levels, whose evaluations also give the source features."""
        return Inverting(self.steps, Euler(), self.guidance, own=("even",))

    @property
    def records(self) -> bool:
        """Where a control uses them."""
        return bool(self.text_ratio or self.attention_ratio or self.text_words)

    def grid(self, backbone: Backbone, size: tuple[int, int]) -> Grid:
        """The model's own schedule, finely divided, in equal parts: it has no sliver at its end."""
        return backbone.grid(100, size).even(self.steps)

    def start(self, run: Run, known: Trajectory) -> tuple[Latent, None, int]:
        """From the inverted noise, with no change yet."""
        return known[0], None, 0

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """The source is asked again only for features that the inversion did not leave."""
        k, ds, features = step.index, run.grid.width(step.index), step.during("invert")
        missing, d = run.lacks(step, features), x - known[k]
        source = run.of_source(known[k + 1], features=features, wanted=missing)
        target = run.of_target(known[k + 1] + d, self.guidance, features)
        _, v_t = run.velocities(step, source, target)
        d = d + ds * min(self.rate, -step.sigma / ds) * (v_t - known.velocity(k))
        if k == run.grid.steps - 1 and self.least:
            run.found.append(self.changed(d))
            d = run.found[-1] * d
        return known[k + 1] + d, None

    def changed(self, d: Latent) -> Map:
        """0 where the change's length, a mean of 3x3 cells, is `least` or less, 1 from twice it."""
        length = avg_pool2d(pad(d.norm(dim=1, keepdim=True), (1, 1, 1, 1), "replicate"), 3, 1)
        return (length / self.least - 1).clamp(0, 1)
