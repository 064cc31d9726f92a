"""UniInv's rule: ask at the far end, predicted by the last velocity (arXiv 2504.13109)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from counterflow.flow import Grid, Step, Velocity


@dataclass(frozen=True)
class UniInv:
    """`v = v(x + h * v_before, stop)`, `x += h * v` with `h = stop - start`.

    The first step predicts by a velocity at the picture itself, one evaluation more than there are
    steps, or with `zero_start` by none.
    """

    zero_start: bool = False
    order = 1
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
        """One evaluation, two in the first step."""
        h = stop - start
        if before is None:
            before = 0 * x if self.zero_start else velocity(x, step.at(start))
        v = velocity(x + h * before, step.at(stop, 1))
        return x + h * v, v


def clean_end(grid: Grid, k: int) -> Step:
    """The evaluation of an inversion at the cleaner end of interval `k`; its first at the image."""
    if k + 1 == grid.steps:
        return grid.step(k, "invert").at(grid[k + 1])
    return grid.step(k + 1, "invert").at(grid[k + 1], 1)
