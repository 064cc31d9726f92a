"""FTEdit: "Unveil Inversion and Invariance in Flow Transformer for Versatile Image Editing".

Xu et al., CVPR 2025, arXiv 2411.15843. Stage I inverts by fixed-point iteration (`Iterated`), stage
II compensates the source's velocity, and the text control holds what the prompts share
(`Controlled`). Defaults are the paper's, but for padding (docs/decisions/0016). On the bundled
model half of the changes of style and a third of the poses and expressions fail, and new shapes are
blurred, with remnants of the old; as tuned, it makes nearly every edit, with the same remnants.
"""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.flow import Latent, OneLatent, Step
from counterflow.kinds import Choice, Integer, Number
from counterflow.methods.run import Run
from counterflow.methods.shared import Controlled, Iterated, Skipping
from counterflow.settings import setting
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class FTEdit(Skipping, Controlled, Iterated):
    """Source and target step side by side; the target takes its controlled features from it."""

    name = "ftedit"
    title = "FTEdit"
    paper = "Xu et al., CVPR 2025, arXiv 2411.15843"
    follows = True

    guidance: float = setting(2.0, Number(0, 100), "Guidance of the target.")
    skip_steps: int = setting(
        0, Integer(0, 999), "Start at this step of the trajectory; windows do not move."
    )
    compensate: str = setting(
        "source", Choice("source", "both", "none"), "Branches with velocity compensation."
    )

    @property
    def keeps(self) -> bool:
        """Features of the stored trajectory serve every edit; those of a drifting source none."""
        return self.compensate != "none"

    def start(self, run: Run, known: Trajectory) -> tuple[Latent, Latent, int]:
        """Both branches start at the stored latent; targets may be given other noise."""
        n = self.skip_steps
        return known[n] if run.begin is None else run.begin, known[n], n

    def step(
        self, run: Run, known: Trajectory, x: Latent, source: OneLatent, step: Step
    ) -> tuple[Latent, OneLatent]:
        """`x += ds * v(x)` for the target under control; the source steps by `v + eps`."""
        k, ds = step.index, run.grid.width(step.index)
        w = 1 if self.compensate == "source" else self.guidance
        asked = run.of_source(source, w, wanted=self._needs_source(run, step))
        v_source, v = run.velocities(step, asked, run.of_target(x, self.guidance))
        if self.compensate == "none":
            return x + ds * v, source + ds * v_source if asked.wanted else source
        if asked.wanted:
            run.measure(known, k, v_source, residual=w == self.invert_guidance)
        if self.compensate == "both":
            v = v + known.compensation(k, source, v_source)
        return x + ds * v, known[k + 1]

    def _needs_source(self, run: Run, step: Step) -> bool:
        """A compensated source's place is known: it is evaluated for its features alone."""
        if self.compensate == "source":
            return run.lacks(step)
        return self.compensate == "both" or run.lacks_later(step)
