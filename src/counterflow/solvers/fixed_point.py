"""Stage I of FTEdit: inversion by fixed-point iteration with a stable velocity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterflow.flow import Step, Velocity


@dataclass(frozen=True)
class FixedPoint:
    """The implicit step `z = x + (stop - start) * v(z, stop)` by iteration (arXiv 2411.15843).

    Towards the noise this inverts generation's Euler step exactly, if it converges.
    `iterations` I costs I + 1 evaluations. With `average`, the step uses the mean of the velocities
    of the evaluations from `span[0]` to `span[1]` (of 0…I, default all; the paper's stable
    velocity), otherwise the last one. I = 0 is Euler inversion (eq. 8), and I = 1 averaged is
    Heun's rule where the velocity does not depend on time. Raises ValueError for a span outside
    the evaluations.
    """

    iterations: int = 3
    average: bool = True
    span: tuple[int, int] | None = None
    order = 1

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError("iterations is 0 or more")
        first, last = self.span or (0, self.iterations)
        if not 0 <= first <= last <= self.iterations:
            raise ValueError(f"span {self.span} is not within the evaluations 0…{self.iterations}")

    def __str__(self) -> str:
        how = "averaged" if self.average else "last taken"
        return f"{type(self).__name__} with {self.iterations} iterations, {how}"

    @property
    def forwards(self) -> int:
        """I + 1."""
        return self.iterations + 1

    def init(self, x: Tensor) -> None:
        """Nothing to remember."""

    def step(
        self, velocity: Velocity, x: Tensor, state: None, step: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """I + 1 evaluations at the noise level `stop`."""
        z, velocities = x, []
        for i in range(self.iterations + 1):
            velocities.append(velocity(z, step.at(stop, i)))
            z = x + (stop - start) * velocities[-1]
        return x + (stop - start) * self.stable(velocities), None

    def stable(self, velocities: list[Tensor]) -> Tensor:
        """What the step is taken with: the mean over the span, or the last evaluation."""
        if not self.average:
            return velocities[-1]
        first, last = self.span or (0, self.iterations)
        return torch.stack(velocities[first : last + 1]).mean(0)
