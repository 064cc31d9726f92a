"""The velocity field: time convention, sigma grids, and wrappers that take and return a field.

Conventions, everywhere in this package:

- `sigma` is the noise level: 1 is pure noise, 0 is the image.
- A latent at a level is `x = (1 - sigma) * image + sigma * noise`.
- A velocity is `v = noise - image`, so moving from `s` to `s_next` is `x + (s_next - s) * v`.
- A grid is decreasing, from the noise end to 0; interval `k` lies between `grid[k]` and
  `grid[k + 1]`. A trajectory has one latent for each entry of its grid.

FTEdit (arXiv 2411.15843) writes time the other way round, `t = 1 - sigma`, with the opposite sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Latent = Float[Tensor, "batch channels height width"]

Branch = Literal["source", "target", "negative"]
Stage = Literal["invert", "edit", "generate"]


@dataclass(frozen=True)
class Step:
    """Where in a run a velocity is asked for. Controls are told this; nobody counts calls."""

    index: int
    """Interval of the grid, 0 at the noise end, in either direction of travel."""
    count: int
    """Number of intervals in the whole grid, skipped ones included."""
    sigma: float
    """Noise level at which the velocity is evaluated."""
    branch: Branch = "target"
    stage: Stage = "generate"

    def at(self, sigma: float) -> Step:
        """The same step at another noise level (for solvers that look elsewhere)."""
        return replace(self, sigma=sigma)

    def on(self, branch: Branch) -> Step:
        """The same step on another branch."""
        return replace(self, branch=branch)


Field = Callable[[Tensor, Step], Tensor]
"""A velocity field with its conditioning bound: latent `[b, c, h, w]` and step to velocity."""


@dataclass(frozen=True)
class Grid:
    """Strictly decreasing noise levels ending at 0, as the model's own scheduler gives them."""

    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = zip(self.sigmas, self.sigmas[1:], strict=False)
        if len(self.sigmas) < 2 or self.sigmas[-1] != 0 or not all(a > b for a, b in pairs):
            raise ValueError("a grid is two or more strictly decreasing noise levels ending at 0")
        if not all(math.isfinite(s) for s in self.sigmas):
            raise ValueError("a grid's noise levels are finite")

    @classmethod
    def uniform(cls, steps: int) -> Grid:
        """`steps` equal intervals from 1 to 0; ValueError for fewer than one."""
        if steps < 1:
            raise ValueError("a grid has at least one step")
        return cls(tuple((steps - k) / steps for k in range(steps + 1)))

    @property
    def steps(self) -> int:
        """Number of intervals."""
        return len(self.sigmas) - 1

    def __getitem__(self, k: int) -> float:
        return self.sigmas[k]

    def width(self, k: int) -> float:
        """`grid[k + 1] - grid[k]`, the (negative) Euler step towards the image."""
        return self.sigmas[k + 1] - self.sigmas[k]

    def toward_image(self, start: int = 0) -> Iterator[int]:
        """Intervals in the order of generation."""
        return iter(range(start, self.steps))

    def toward_noise(self) -> Iterator[int]:
        """Intervals in the order of inversion."""
        return iter(range(self.steps - 1, -1, -1))


class Counter:
    """Counts network forwards on single samples, the unit in which this field states its cost."""

    def __init__(self) -> None:
        self.forwards = 0

    def __call__(self, field: Field) -> Field:
        """The same field, counted."""

        def counted(x: Tensor, step: Step) -> Tensor:
            self.forwards += x.shape[0]
            return field(x, step)

        return counted


def guided(conditional: Field, unconditional: Field, scale: float) -> Field:
    """Classifier-free guidance, `u + scale * (c - u)`; at scale 1 only `c` is evaluated."""
    if scale == 1:
        return conditional

    def field(x: Tensor, step: Step) -> Tensor:
        u = unconditional(x, step.on("negative"))
        c = conditional(x, step)
        return u + scale * (c - u)

    return field


def passes(scale: float) -> int:
    """Forwards that one evaluation of a field guided at this scale costs."""
    return 1 if scale == 1 else 2


Window = float | tuple[float, float]
"""Some of the steps, as a share counted from the noise end, or from which share to which."""


def within(window: Window, step: Step) -> bool:
    """Whether a step lies in a window of all steps, skipped ones included.

    Numbers of steps are rounded down, as FTEdit's 0.15 of 30 steps are 4.
    """
    first, last = window if isinstance(window, tuple) else (0.0, window)
    start, stop = (math.floor(share * step.count + 1e-9) for share in (first, last))
    return start <= step.index < stop
