"""KV-Edit: inside a mask all is made anew; the background that it attends to is the inversion's.

Zhu et al., ICCV 2025, arXiv 2502.17363. As published, K and V are the cleaner level's and edits
start a step later; `attn_scale` is left out. Made for FLUX: here each half of guidance has its own.
On the bundled model styles are smeared; as tuned few sit down or stand up, and signs are smears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterflow.backbones.base import Backbone
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.controls.blend import blend
from counterflow.controls.tokens import outside_tokens
from counterflow.flow import Half, Latent, OneLatent, Step
from counterflow.kinds import Flag, Integer, Number
from counterflow.methods.base import Inverting
from counterflow.methods.run import Run
from counterflow.methods.shared import Skipping, check_sites
from counterflow.settings import setting
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class KVEdit(Skipping):
    """Euler inside the mask; K and V of the inversion outside."""

    name = "kv-edit"
    title = "KV-Edit"
    paper = "Zhu et al., ICCV 2025, arXiv 2502.17363"
    needs_mask = True
    records = True

    steps: int = setting(28, Integer(1, 1000), "Steps of the grid, N.")
    skip_steps: int = setting(4, Integer(0, 999), "Steps at the noise end that are not made.")
    invert_guidance: float = setting(1.5, Number(0, 100), "Guidance while inverting.")
    guidance: float = setting(5.5, Number(0, 100), "Guidance of the target.")
    re_init: bool = setting(False, Flag(), "Start inside the mask from fresh noise.")

    @property
    def inversion(self) -> Inverting:
        """Euler's rule, told the clean end of each interval."""
        return Inverting(self.steps, Euler(True), self.invert_guidance, stop=self.skip_steps)

    def check_model(self, backbone: Backbone) -> None:
        """Refuse a model without K and V."""
        check_sites(backbone, self.name, "image.k", "image.v")

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """K and V of tokens outside the mask; an unguided inversion's serve both halves."""
        half: Half = "unconditional" if run.guided(self.invert_guidance) else "conditional"
        own = half if run.guided(self.guidance) else None
        outside = outside_tokens(run.backbone, run.mask, len(run.targets))
        return (AttentionControl(1.0, ("k", "v"), weights=outside, unconditional=own),)

    def start(self, run: Run, known: Trajectory) -> tuple[OneLatent, None, int]:
        """From the latent of the step after, or inside the mask from noise."""
        n, x = self.skip_steps, known[self.skip_steps + 1]
        if self.re_init and run.mask is not None:
            x = blend(run.noised(run.noise(), run.grid[n]), x, run.mask)
        return x, None, n

    def step(
        self, run: Run, known: Trajectory, x: Latent, state: None, step: Step
    ) -> tuple[Latent, None]:
        """Euler's; where the inversion left no K and V its step is made again."""
        features = step.during("invert")
        if run.lacks(step, features):
            run.remake(Euler(True), known, step.index, None, self.invert_guidance)
        v = run.velocities(step, run.of_target(x, self.guidance, features))[0]
        return x + run.grid.width(step.index) * v, None

    def outside(self, run: Run, known: Trajectory, state: None, k: int) -> OneLatent:
        """Partly masked tokens too come from the latent of the step after."""
        return known[min(k + 1, run.grid.steps)]
