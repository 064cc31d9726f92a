"""ConsistEdit: attention of the source outside the object, and its structure everywhere at first.

Yin et al., SIGGRAPH Asia 2025, arXiv 2510.17803, for SD3. Arithmetic and defaults are those of the
published code for real pictures: the features of a step are of the inversion's evaluation one level
cleaner, the source is sampled again from its noise with them, and without guidance its V is its
own. The object is found by its words' attention (`looking.py`), unless a mask is given. Here it is
bad at expressions, of which a third stay, at arms, and at pixel art, whose outlines it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from counterflow.backbones.base import Backbone
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.flow import Half, Latent, OneLatent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Inverting
from counterflow.methods.looking import Looking
from counterflow.methods.run import Run
from counterflow.methods.shared import check_feature, check_sites
from counterflow.settings import setting
from counterflow.solvers.trajectory import Trajectory
from counterflow.solvers.uniinv import UniInv, clean_end


@dataclass(frozen=True)
class ConsistEdit(Looking):
    """Q and K everywhere in the first steps, then Q, K and V outside the object."""

    name = "consistedit"
    title = "ConsistEdit"
    paper = "Yin et al., SIGGRAPH Asia 2025, arXiv 2510.17803"

    steps: int = setting(28, Integer(1, 1000), "Steps of the grid, N.")
    guidance: float = setting(1.0, Number(0, 100), "Guidance of source and target in the edit.")
    alpha: float = setting(0.1, Number(0, 1), "Share of the steps with Q and K everywhere.")

    @property
    def inversion(self) -> Inverting:
        """UniInv; at another guidance it leaves other features."""
        return Inverting(self.steps, UniInv(), own=(self.name, self.guidance))

    def check_model(self, backbone: Backbone) -> None:
        """Refuse a model without Q, K and V, or whose words cannot be found in the picture."""
        check_feature(backbone, self.name, "joint attention")
        check_sites(backbone, self.name, "image.q", "image.k", "image.v", "text.k")

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """The inversion's features, and what the targets take of the source's."""
        guided = run.guided(self.guidance)
        recorded = self.recording("q", "k", *("v" if guided else ""))
        if known is None:
            return recorded
        half: Half | None = "unconditional" if guided else None
        take = partial(AttentionControl, stage="edit", unconditional=half)
        early, outside = int(self.steps * self.alpha) / self.steps, 1 - self.inside(run)
        first, then = take(early, ("q", "k")), take((early, 1.0), ("q", "k"), weights=outside)
        return [*recorded, first, then, take(1.0, ("v",), weights=outside)]

    def start(self, run: Run, known: Trajectory) -> tuple[OneLatent, OneLatent, int]:
        """Both from the inverted noise."""
        return known[0], known[0], 0

    def step(
        self, run: Run, known: Trajectory, x: Latent, source: OneLatent, step: Step
    ) -> tuple[Latent, OneLatent]:
        """Euler for both; the source only where later steps lack features of it."""
        ds, recalled = run.grid.width(step.index), clean_end(run.grid, step.index)
        if run.lacks(recalled):
            run.remake(UniInv(), known, recalled.index, known.before(recalled.index))
        wanted = run.lacks_later(step, clean_end)
        asked = run.of_source(source, self.guidance, wanted=wanted, recalled=recalled)
        target = run.of_target(x, self.guidance, recalled=recalled)
        v_source, v = run.velocities(step, asked, target)
        return x + ds * v, source + ds * v_source if wanted else source
