"""The flow: time convention, noise levels, and where in a run a velocity is asked for.

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

from counterflow.kinds import Window

Latent = Float[Tensor, "batch channels height width"]
OneLatent = Float[Tensor, "1 channels height width"]
"""Of the one source, beside a `Latent` with a row for each target."""

Branch = Literal["source", "target", "negative"]
"""Whose prompt a forward has; the negative prompt is the unconditional one."""
Stage = Literal["invert", "edit", "generate"]
Half = Literal["conditional", "unconditional"]
"""Which of the two forwards of a guided velocity."""


@dataclass(frozen=True)
class Step:
    """Where in a run a velocity is asked for. Controls are told this; nobody counts calls."""

    index: int
    """Interval of the grid, 0 at the noise end, in either direction of travel."""
    count: int
    """Number of intervals in the whole grid, skipped ones included."""
    sigma: float
    """Noise level at which the velocity is evaluated."""
    evaluation: int = 0
    """Which evaluation within the step, for solvers that make several."""
    stage: Stage = "edit"

    def at(self, sigma: float, evaluation: int = 0) -> Step:
        """The same step at another noise level, for its evaluation of this number."""
        return replace(self, sigma=sigma, evaluation=evaluation)

    def during(self, stage: Stage) -> Step:
        """The same step of another stage, as a key to the features that were recorded there."""
        return replace(self, stage=stage)


Velocity = Callable[[Tensor, Step], Tensor]
"""A velocity with its conditioning bound: from latents `[b, c, h, w]` and a step."""
Watch = Callable[[Latent, Step], Latent]
"""Sees the targets' latents after a step of an edit, and gives those to go on with."""

Preview = Callable[[Tensor, Step], None]
"""Told after each step of an edit where it is heading: latents `[targets, c, h, w]` at level 0."""


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

    def even(self, steps: int, begin: float = math.inf) -> Grid:
        """So many intervals from a noise level, or the first, to 0: this grid's equally divided."""
        first = max((k for k in range(self.steps) if self[k] >= begin), default=0)
        place = first + max(0.0, (self[first] - begin) / (self[first] - self[first + 1]))
        places = [place + n * (self.steps - place) / steps for n in range(steps)]
        pairs = [(int(place), place % 1) for place in places]
        levels = [self[k] + part * (self[k + 1] - self[k]) for k, part in pairs]
        return Grid((*levels, 0.0))

    @property
    def steps(self) -> int:
        """Number of intervals."""
        return len(self.sigmas) - 1

    def __getitem__(self, k: int) -> float:
        return self.sigmas[k]

    def width(self, k: int) -> float:
        """`grid[k + 1] - grid[k]`, the (negative) Euler step towards the image."""
        return self.sigmas[k + 1] - self.sigmas[k]

    def step(self, k: int, stage: Stage = "edit") -> Step:
        """Interval `k` as the step that a velocity is asked for."""
        return Step(k, self.steps, self.sigmas[k], stage=stage)

    def toward_image(self, start: int = 0) -> Iterator[int]:
        """Intervals in the order of generation."""
        return iter(range(start, self.steps))

    def toward_noise(self, stop: int = 0) -> Iterator[int]:
        """Intervals in the order of inversion, down to interval `stop`."""
        return iter(range(self.steps - 1, stop - 1, -1))


def within(window: Window, step: Step) -> bool:
    """Whether a step lies in a window of all steps, skipped ones included.

    Numbers of steps are rounded down, as FTEdit's 0.15 of 30 steps are 4.
    """
    first, last = window if isinstance(window, tuple) else (0.0, window)
    start, stop = (math.floor(share * step.count + 1e-9) for share in (first, last))
    return start <= step.index < stop
