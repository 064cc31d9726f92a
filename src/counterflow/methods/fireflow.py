"""FireFlow: RF-Solver-Edit with half of its evaluations saved.

Deng et al., ICML 2025, arXiv 2412.07517. Each step begins with the velocity half way through the
last one (`solvers/fireflow.py`). The edit's very first forward takes no features: the inversion
made none there. Defaults are those of the published FLUX code, `late` its 38 blocks of 57. On the
bundled model a fifth of the expressions stay and at times a whole background changes unasked;
without guidance, as tuned, nearly half of the expressions stay, and half of the new hats and nearly
all new signs are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from counterflow.kinds import Integer, Number
from counterflow.methods.rf_solver import RFSolver
from counterflow.settings import setting
from counterflow.solvers.base import Solver
from counterflow.solvers.fireflow import FireFlow as FireFlowRule
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class FireFlow(RFSolver):
    """One evaluation a step."""

    name = "fireflow"
    title = "FireFlow"
    paper = "Deng et al., ICML 2025, arXiv 2412.07517"

    steps: int = setting(8, Integer(1, 1000), "Steps of the grid, N.")
    inject: int = setting(1, Integer(0, 1000), "First steps with V from the source.")
    late: float = setting(0.667, Number(0, 1), "Share of the blocks, the last ones, with it.")

    @property
    def solver(self) -> Solver:
        """Both ways; the velocity that it remembers is dropped between."""
        return FireFlowRule()

    def remembered(self, known: Trajectory, k: int) -> Any:
        """The velocity of the step before."""
        return known.before(k)
