"""The explicit midpoint rule, of second order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from counterflow.flow import Step, Velocity


@dataclass(frozen=True)
class Midpoint:
    """`x + h * v(x + h/2 * v(x, start), start + h/2)` with `h = stop - start` (Runge, 1895)."""

    order = 2
    forwards = 2

    def __str__(self) -> str:
        return "the midpoint rule"

    def init(self, x: Tensor) -> None:
        """Nothing to remember."""

    def step(
        self, velocity: Velocity, x: Tensor, state: None, step: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """Two evaluations: at `start` and half way."""
        half = (stop - start) / 2
        middle = x + half * velocity(x, step.at(start))
        return x + 2 * half * velocity(middle, step.at(start + half, 1)), None
