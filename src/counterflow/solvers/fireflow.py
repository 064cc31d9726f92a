"""FireFlow's rule: the midpoint with the last step's half-way velocity (arXiv 2412.07517)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from counterflow.flow import Step, Velocity


@dataclass(frozen=True)
class FireFlow:
    """The midpoint rule, whose first evaluation is the last step's second: one for each step.

    The first step makes both.
    """

    order = 2
    forwards = 1

    def init(self, x: Tensor) -> None:
        """No velocity yet."""

    def step(
        self,
        velocity: Velocity,
        x: Tensor,
        before: Tensor | None,
        step: Step,
        start: float,
        stop: float,
    ) -> tuple[Tensor, Tensor]:
        """One evaluation half way, in the first step one at `start` too."""
        half = (stop - start) / 2
        if before is None:
            before = velocity(x, step.at(start))
        v = velocity(x + half * before, step.at(start + half, 1))
        return x + 2 * half * v, v
