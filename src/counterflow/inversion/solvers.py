"""One step of an ODE solver, from one noise level to another, in either direction.

A solver is small: `init` makes its state and `step` takes and returns it. The loop in
`counterflow.inversion.trajectory` owns everything else. To add one, write a class here and
put it into `SOLVERS`; the tests measure its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from counterflow.flow import Field, Step


@runtime_checkable
class Solver(Protocol):
    """One rule for a step. State is whatever the rule wants to remember between steps."""

    order: int

    def init(self, x: Tensor) -> Any:
        """State before the first step."""
        ...

    def step(
        self, field: Field, x: Tensor, state: Any, where: Step, start: float, stop: float
    ) -> tuple[Tensor, Any]:
        """Latent at noise level `stop` from the one at `start`, and the new state."""
        ...


@dataclass(frozen=True)
class Euler:
    """`x + (stop - start) * v(x, start)` (FTEdit eq. 7): generation's own rule."""

    order = 1

    def init(self, x: Tensor) -> None:
        """Nothing to remember."""

    def step(
        self, field: Field, x: Tensor, state: None, where: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """One forward."""
        return x + (stop - start) * field(x, where.at(start)), None


@dataclass(frozen=True)
class FixedPoint:
    """Stage I of FTEdit: the implicit step `z = x + (stop - start) * v(z, stop)` by iteration.

    Towards the noise this inverts generation's Euler step exactly, if it converges.
    `iterations` I costs I + 1 forwards. With `average`, the step uses the mean of the
    velocities from `window[0]` to `window[1]` (indices of the I + 1 evaluations, default all;
    the paper's stable velocity), otherwise the last one. I = 0 is Euler inversion (eq. 8), and
    I = 1 averaged is Heun's rule where the field does not depend on time.
    """

    iterations: int = 3
    average: bool = True
    window: tuple[int, int] | None = None
    order = 1

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError("iterations is 0 or more")
        first, last = self.window or (0, self.iterations)
        if not 0 <= first <= last <= self.iterations:
            raise ValueError(
                f"window {self.window} is not within the evaluations 0…{self.iterations}"
            )

    def init(self, x: Tensor) -> None:
        """Nothing to remember."""

    def step(
        self, field: Field, x: Tensor, state: None, where: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """I + 1 forwards."""
        z, velocities = x, []
        for _ in range(self.iterations + 1):
            velocities.append(field(z, where.at(stop)))
            z = x + (stop - start) * velocities[-1]
        return x + (stop - start) * self.stable(velocities), None

    def stable(self, found: list[Tensor]) -> Tensor:
        """What the step is taken with: the mean over the window, or the last evaluation."""
        if not self.average:
            return found[-1]
        first, last = self.window or (0, self.iterations)
        return torch.stack(found[first : last + 1]).mean(0)


SOLVERS: tuple[Solver, ...] = (Euler(), FixedPoint(), FixedPoint(iterations=8, average=False))
"""One of each, for tests that hold for every solver."""
