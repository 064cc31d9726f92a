"""Euler's rule: generation's own, and the simplest inversion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from counterflow.flow import Step, Velocity


@dataclass(frozen=True)
class Euler:
    """`x + (stop - start) * v(x)` (FTEdit, arXiv 2411.15843, eq. 7 and 8).

    Of an interval's two noise levels, the velocity is always told the noisier one: that is where
    generation asks. Towards the noise the latent there is not known yet, and the known one takes
    its place; this mismatch is the error of Euler inversion. With `clean` an inversion tells the
    level that this latent has, which is the plain rule for the flow to the noise.
    """

    clean: bool = False

    order = 1
    forwards = 1

    def __str__(self) -> str:
        return "Euler's rule, told the clean end" if self.clean else "Euler's rule"

    def init(self, x: Tensor) -> None:
        """Nothing to remember."""

    def step(
        self, velocity: Velocity, x: Tensor, state: None, step: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """One evaluation."""
        told = start if self.clean else max(start, stop)
        return x + (stop - start) * velocity(x, step.at(told)), None
