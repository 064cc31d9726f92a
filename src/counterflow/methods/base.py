"""What a method is, and the one loop that runs every method.

A method of the field is one small file: a frozen dataclass whose fields are its settings, with the
inversion that it needs, where an edit starts, and one `step`, written as its paper writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.backbones.base import Backbone, Conditioning
from counterflow.controls.base import Control
from counterflow.controls.blend import blend
from counterflow.controls.features import Features
from counterflow.controls.rows import RowMap, row_map
from counterflow.errors import InputError
from counterflow.flow import Branch, Grid, Latent, OneLatent, Step
from counterflow.kinds import Integer
from counterflow.methods.run import Run
from counterflow.settings import Settings, setting
from counterflow.solvers.base import Solver
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import Trajectory, finite, invert

EULER = Euler()


@dataclass(frozen=True)
class Inverting:
    """How a picture is inverted: edits whose methods agree in this can share an inversion."""

    steps: int
    solver: Solver
    guidance: float = 1.0
    prompt: Branch = "source"
    """`negative` is the empty prompt here, whatever guidance leads away from."""
    stop: int = 0
    """The interval that it goes down to; 0 is pure noise."""
    back: Solver = EULER
    """The solver from noise to image that it inverts."""
    own: tuple[str | float, ...] = ()
    """What tells a method's own inversion apart, where it is not the solver's plain loop."""

    def __str__(self) -> str:
        where = f", as far as step {self.stop}" if self.stop else ""
        return f"{self.solver} in {self.steps} steps at guidance {self.guidance:g}{where}"


@dataclass(frozen=True)
class Method(Settings):
    """Base of every method: overwrite what the paper does otherwise; `step` has no default."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    follows: ClassVar[bool] = False
    """Whether it edits along any trajectory: of a generated picture, or of an edit before."""
    needs_mask: ClassVar[bool] = False
    """Whether it edits nothing without a mask."""

    steps: int = setting(30, Integer(1, 1000), "Steps of the grid, N.")

    @property
    def inversion(self) -> Inverting | None:
        """The inversion that the method starts from; None where it inverts nothing."""
        return None

    @property
    def skipped(self) -> int:
        """Steps at the noise end that an edit does not make."""
        return 0

    @property
    def keeps(self) -> bool:
        """Whether source features of one edit serve the next edits of the same picture."""
        return True

    @property
    def records(self) -> bool:
        """Whether the inversion's own evaluations give the source features."""
        return False

    @property
    def sharing_key(self) -> object:
        """Equal for methods that one inversion of a picture serves.

        A method that takes its features from its own inversion shares with nothing else.
        """
        return self if self.records else self.inversion

    def grid(self, backbone: Backbone, size: tuple[int, int]) -> Grid:
        """The noise levels of a picture of this (width, height): by default the pipeline's own."""
        return backbone.grid(self.steps, size)

    def check_model(self, backbone: Backbone) -> None:
        """Refuse, with InputError, what a model cannot do, before any work is done."""

    def check_prompts(self, source: str, target: str) -> None:
        """Refuse, with InputError, settings that do not fit the prompts."""

    def row_map(self, source: Conditioning, target: Conditioning) -> RowMap:
        """Which of the source's text rows each of a target's corresponds to."""
        return row_map(source, target)

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """What the target's conditional passes take from the source; `known` as in `step`.

        While the inversion records, `known` is None.
        """
        return ()

    def invert(self, run: Run) -> Trajectory | None:
        """The picture's trajectory to noise, shared by all its targets."""
        how = self.inversion
        if how is None:
            return None
        with run.attached(self.controls(run, None) if self.records else (), run.features):
            velocity = run.velocity(how.prompt, how.guidance)
            return invert(how.solver, velocity, run.image, run.grid, how.stop, run.done)

    def start(self, run: Run, known: Any) -> tuple[OneLatent, Any, int]:
        """Latents `[1, c, h, w]` that all targets start from, a state, and the first interval.

        By default where the inversion led, or where nothing is inverted the picture; no state.
        """
        if known is None:
            return run.image, None, 0
        return known[self.skipped], None, self.skipped

    def step(self, run: Run, known: Any, x: Latent, state: Any, step: Step) -> tuple[Latent, Any]:
        """The targets' next latents, one row for each, and the next state.

        `known` is the source's trajectory, None where the method inverts nothing.
        """
        raise NotImplementedError

    def outside(self, run: Run, known: Any, state: Any, k: int) -> OneLatent:
        """What the targets' latents `k` are outside a mask: the source's trajectory.

        A method without one says it itself; InputError where it does not.
        """
        if known is None:
            raise InputError(f"{self.name} takes no mask")
        return known[k]  # type: ignore[no-any-return]


def edit(
    method: Method, run: Run, known: Trajectory | None
) -> Float[Tensor, "n targets channels height width"]:
    """Run a method: every latent that the targets go through, from where they start to the image.

    Latents change inside `run.mask` only, if there is one. Raises NumericsError, naming the step,
    when a latent is not finite.
    """
    features = run.features if method.keeps else Features(budget=0)
    with run.attached(method.controls(run, known), features):
        return torch.stack(list(walk(method, run, known)))


def walk(method: Method, run: Run, known: Any) -> Iterator[Latent]:
    """The latents of `edit` one after another; a method may walk another's steps so."""
    x, state, first = method.start(run, known)
    x = x.expand(len(run.targets), *x.shape[1:])
    yield x
    run.expected = max(run.expected, run.made + run.grid.steps - first)
    for k in run.grid.toward_image(first):
        step = run.grid.step(k)
        before = x
        x, state = method.step(run, known, x, state, step)
        if run.mask is not None:
            x = blend(x, method.outside(run, known, state, k + 1), run.mask)
        x = finite(x if run.watch is None else run.watch(x, step), step)
        yield x
        if run.preview is not None:
            run.preview(heading(run.grid, before, x, step.index), step)
        run.done(step)


def heading(grid: Grid, before: Latent, x: Latent, k: int) -> Latent:
    """Where the line from the latents before interval `k` to those after it meets noise level 0.

    For latents that follow a velocity this is the clean picture `x - sigma * v`.
    """
    return x - grid[k + 1] / grid.width(k) * (x - before)
