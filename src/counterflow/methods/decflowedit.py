"""DecFlowEdit: FlowEdit made twice, the first time without guidance, to see where it acts.

arXiv 2609.34237. No code is published; what the text leaves open is said in
`docs/decisions/0021-published-rules.md`. On the bundled model a fifth of the changes of
background fail, where its mask leaves a rim of the old one, and styles are smeared; as tuned a
third of those fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d

from counterflow.errors import InputError
from counterflow.flow import Latent
from counterflow.kinds import Flag, Number, Share, Window
from counterflow.methods.base import walk
from counterflow.methods.masked import Masked, Watched
from counterflow.methods.masks import Map, between
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class DecFlowEdit(Masked):
    """`z += ds * M * (v_t - v_s)`, with `M` from the sum of the first edit's differences."""

    name = "decflowedit"
    title = "DecFlowEdit"
    paper = "arXiv 2609.34237"

    first_share: float = setting(1.0, Number(0.01, 1), "Steps of the first edit, a share of N.")
    window: Window = setting((0.25, 0.75), Share(), "Its steps whose differences are summed.")
    threshold: float = setting(0.55, Number(0, 1), "Where the mask is one half.")
    softness: float = setting(0.08, Number(0.001, 10), "Of the mask's edge.")
    reseed: bool = setting(False, Flag(), "Both edits draw the same noises.")

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.unguided.steps
        if not any(map(self.summed, range(steps - self.unguided.n_max, steps))):
            raise InputError(f"with n_max {self.n_max} no step is made within the mask's window")

    @property
    def unguided(self) -> Watched:
        """The first edit."""
        steps = max(1, int(self.first_share * self.steps))
        made = max(1, round(min(self.n_max, self.steps) * steps / self.steps))
        return Watched(steps, made, source_guidance=1, guidance=1, fixed_noise=self.fixed_noise)

    def summed(self, k: int) -> bool:
        """Whether the window takes in step `k` of the first edit: 17 to 38 of the last 33 of 50."""
        count = self.unguided.steps
        low, high = self.window if isinstance(self.window, tuple) else (0.0, self.window)
        return low * count - 1 + 1e-9 < k < high * count + 1 - 1e-9

    def find(self, run: Run) -> Map:
        """The sum's length, smoothed, between its outer tenths."""
        edit = self.unguided
        run.expected = edit.n_max + min(self.n_max, self.steps)
        with run.over(run.backbone.grid(edit.steps, run.size)):
            for _ in walk(edit, run, None):
                pass
        kept = [change for k, change in edit.changes.items() if self.summed(k)]
        if self.reseed:
            run.reseed()
        smooth = avg_pool2d(torch.stack(kept).sum(0).norm(dim=1, keepdim=True), 5, 1, 2)
        clipped = between(smooth, 0.1, 0.9).clamp(0, 1)
        return torch.sigmoid((clipped - self.threshold) / self.softness)

    def held(self, run: Run, x: Latent, moved: Latent, mask: Map) -> Latent:
        """A step's share."""
        return x + mask * (moved - x)
