"""KV-Edit: inside a mask all is made anew, and it attends to the background as it was inverted.

Zhu et al., ICCV 2025, arXiv 2502.17363. Image K and V outside the mask are the inversion's, so the
background need not pass through the model; here it does, with the same values inside. As in the
published code, an edit starts from the latent of the step after, and kept K and V are of the
cleaner level. Made for FLUX: with classifier-free guidance each half keeps its own K and V, an
unguided inversion's serving both. Its bias on the background's keys (`attn_scale`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterflow.backbones.base import Backbone
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control, Half
from counterflow.controls.blend import blend
from counterflow.controls.tokens import to_tokens, token_side
from counterflow.flow import Latent, OneLatent, Step
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
        """K and V of tokens outside the mask."""
        own: Half = "unconditional" if run.guided(self.invert_guidance) else "conditional"
        half = own if run.guided(self.guidance) else None
        weights = None
        if run.mask is not None:
            outside = 1 - to_tokens(run.mask, token_side(run.backbone))
            weights = outside.expand(len(run.targets), -1, -1)
        return (AttentionControl(1.0, ("k", "v"), weights=weights, unconditional=half),)

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
        k, features = step.index, step.during("invert")
        if run.lacks(step, features):
            run.remake(Euler(True), known, k, None, self.invert_guidance)
        (v,) = run.velocities(step, run.of_target(x, self.guidance, features))
        return x + run.grid.width(k) * v, None

    def outside(self, run: Run, known: Trajectory, state: None, k: int) -> OneLatent:
        """Partly masked tokens too come from the latent of the step after."""
        return known[min(k + 1, run.grid.steps)]
