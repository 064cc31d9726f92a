"""PMI and mimic-CFG: another solver, its velocity corrected by the mean of those before.

Wang et al., arXiv 2602.11850. The mean is over the way travelled, each velocity weighted by its
step's width, the step's own among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

from counterflow.flow import Step, Velocity
from counterflow.solvers.base import Solver
from counterflow.solvers.fireflow import FireFlow

Rule = Literal["pmi", "published", "paper"]
"""Towards the mean by a fixed length; mimic-CFG as published; mimic-CFG as its paper has it."""


class State(NamedTuple):
    """The base's own, the corrected velocity before, the sum of the mean, and the way travelled."""

    base: Any
    before: Tensor | None
    total: Tensor
    way: float


@dataclass(frozen=True)
class PMI:
    """`base` with its last velocity `v` corrected to `v'`, for a remembered velocity too.

    `base` is a solver that steps along its last evaluation: Euler, the midpoint rule, UniInv or
    FireFlow. With the mean `m` and the velocity before, `p`:

        pmi        v' = v - K h g / |g|,  g = (v - m) + sign(v - p),  K = sqrt(2n + 3 sqrt(2n))
        published  v' = w v + (1 - w) m * (v * m) / |v|^2, whose products are elementwise
        paper      v' = w v + (1 - w) m <v, m> / |m|^2

    The first step has no `p`, and its `g` is rounding: PMI leaves it as it is. With `twice` the sum
    of the mean takes in `v'` beside `v`, and mimic-CFG as published divides by `|m|^2`.
    """

    base: Solver = field(default_factory=FireFlow)
    rule: Rule = "pmi"
    w: float = 0.94
    size: int = 22
    twice: bool = False
    order = 1

    def __str__(self) -> str:
        return f"{self.base}, corrected"

    @property
    def forwards(self) -> int:
        """The base's."""
        return self.base.forwards

    def init(self, x: Tensor) -> State:
        """Nothing asked, nothing travelled."""
        return State(self.base.init(x), None, 0 * x, 0.0)

    def step(
        self, velocity: Velocity, x: Tensor, state: State, step: Step, start: float, stop: float
    ) -> tuple[Tensor, State]:
        """The base's evaluations, and none besides."""
        asked: list[Tensor] = []

        def watched(x: Tensor, step: Step) -> Tensor:
            asked.append(velocity(x, step))
            return asked[-1]

        _, base = self.base.step(watched, x, state.base, step, start, stop)
        h, v = stop - start, asked[-1]
        total, way = state.total + h * v, state.way + h
        new = self.corrected(v, total / way, state.before, h)
        total = total + h * new if self.twice else total
        return x + h * new, State(None if base is None else new, new, total, way)

    def corrected(self, v: Tensor, mean: Tensor, before: Tensor | None, h: float) -> Tensor:
        """By the rule, each row of the batch by itself."""
        if self.rule == "pmi":
            if before is None:
                return v
            change = (v - mean) + (v - before).sign()
            reach = math.sqrt(2 * self.size + 3 * math.sqrt(2 * self.size))
            return v - reach * h * change / _square(change).sqrt().clamp_min(1e-12)
        if self.rule == "paper":
            along = _summed(v * mean) / _square(mean)
        else:
            along = v * mean / _square(mean if self.twice else v)
        return self.w * v + (1 - self.w) * mean * along


def _summed(x: Tensor) -> Tensor:
    """Over each row of the batch."""
    return x.flatten(1).sum(1).reshape(-1, 1, 1, 1)


def _square(x: Tensor) -> Tensor:
    """The squared length of each row."""
    return _summed(x * x)
