"""Stage I's implicit step from an extrapolated guess, for one evaluation in most steps.

Ours (docs/decisions/0027). An inversion evaluates step after step nearly the same velocity, so the
two steps before tell where the next one leads. Where the velocity changes faster, as near pure
noise on some pictures, the residual of such a step can be larger than three iterations leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from counterflow.flow import Step, Velocity


class History(NamedTuple):
    """How many steps were made, and the velocities of the last two, each with its noise level."""

    made: int = 0
    last: tuple[float, Tensor] | None = None
    before: tuple[float, Tensor] | None = None


@dataclass(frozen=True)
class Extrapolated:
    """The implicit step `z = x + (stop - start) * v(z, stop)`, its fixed point begun near its end.

    The first evaluation is made where the guess `u` leads, and the step taken with the last one:

        z = x + (stop - start) * u,    u = v1 + (stop - s1) / (s1 - s2) * (v1 - v2)

    with the velocities `v1`, `v2` of the two steps before, at the levels `s1`, `s2`. In a smooth
    flow that leaves a fixed-point residual of third order in the step, where iterations averaged
    from `x` leave one of first order. The first steps, which have no such history and are the
    hardest, make I + 1, I, I - 1 … evaluations, from the last velocity as it is; later ones make
    one. N steps cost N + I (I + 1) / 2 evaluations, if N is more than I. Raises ValueError below 0.
    """

    iterations: int = 3
    order = 1
    forwards = 1

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError("iterations is 0 or more")

    def __str__(self) -> str:
        return f"extrapolated implicit steps with {self.iterations} iterations in the first"

    def init(self, x: Tensor) -> History:
        """Nothing made."""
        return History()

    def step(
        self, velocity: Velocity, x: Tensor, state: History, step: Step, start: float, stop: float
    ) -> tuple[Tensor, History]:
        """One evaluation at the noise level `stop`, in the first steps more."""
        v = self.guess(state, stop)
        for i in range(max(1, self.iterations + 1 - state.made)):
            z = x if v is None else x + (stop - start) * v
            v = velocity(z, step.at(stop, i))
        assert v is not None
        return x + (stop - start) * v, History(state.made + 1, (stop, v), state.last)

    def guess(self, state: History, stop: float) -> Tensor | None:
        """The velocity that the steps before lead to expect; None for the first step."""
        if state.last is None or state.before is None or state.made < self.iterations:
            return None if state.last is None else state.last[1]
        (s1, v1), (s2, v2) = state.last, state.before
        return v1 + (stop - s1) / (s1 - s2) * (v1 - v2)
