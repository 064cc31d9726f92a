"""PMI and mimic-CFG: a solver's velocities drawn to their mean, both ways (`solvers/pmi.py`).

Wang et al., ICLR 2026, arXiv 2602.11850. Arithmetic and defaults are those of the published code,
but for the inversion's first step: there the code scales rounding noise to a fixed length, here
nothing is corrected. The code multiplies where the paper projects, so that its mimic-CFG is nearly
`w v`; its Euler loop also counts each step twice in the mean. `mimic=paper` has neither. On the
bundled model it is bad at what should stay: in one edit of six a colour or the whole background
changes unasked, and chalk bodies wash out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from counterflow.kinds import Choice, Integer, Number
from counterflow.methods.base import Inverting
from counterflow.methods.fireflow import FireFlow
from counterflow.settings import setting
from counterflow.solvers.base import Solver
from counterflow.solvers.euler import Euler
from counterflow.solvers.fireflow import FireFlow as FireFlowRule
from counterflow.solvers.pmi import PMI as Corrected
from counterflow.solvers.pmi import Rule
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class PMI(FireFlow):
    """Inversion with PMI, sampling with mimic-CFG, and RF-Solver-Edit's V from the source."""

    name = "pmi"
    title = "PMI and mimic-CFG"
    paper = "Wang et al., ICLR 2026, arXiv 2602.11850"

    steps: int = setting(12, Integer(1, 1000), "Steps of the grid, N.")
    inject: int = setting(2, Integer(0, 1000), "First steps with V from the source.")
    base: str = setting("fireflow", Choice("fireflow", "euler"), "The rule that is corrected.")
    size: int = setting(
        22, Integer(0, 1_000_000), "n in PMI's length sqrt(2n + 3 sqrt(2n)); 0: none."
    )
    mimic: str = setting(
        "published", Choice("published", "paper", "off"), "mimic-CFG: which form, or none."
    )
    w: float = setting(0.94, Number(0, 1), "Weight of the velocity against mimic-CFG's part.")

    @property
    def solver(self) -> Solver:
        """The rule without corrections."""
        return Euler(clean=True) if self.base == "euler" else FireFlowRule()

    @property
    def pmi(self) -> Corrected:
        """The rule with PMI."""
        twice = self.base == "euler" and self.mimic != "paper"
        return Corrected(self.solver, size=self.size, twice=twice)

    @property
    def inversion(self) -> Inverting:
        """With PMI, which published reconstructions have both ways."""
        return Inverting(self.steps, self.pmi, back=self.pmi)

    @property
    def sampler(self) -> Solver:
        """With mimic-CFG."""
        if self.mimic == "off":
            return self.solver
        return replace(self.pmi, rule=cast(Rule, self.mimic), w=self.w)

    def remembered(self, known: Trajectory, k: int) -> Any:
        """The corrected velocity of the step before, where the rule remembers one."""
        return None if self.base == "euler" else super().remembered(known, k)
