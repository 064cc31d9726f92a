"""One picture and its targets on one model: what a method may ask for, counted and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from counterflow.backbones.base import Backbone, Conditioning, stacked
from counterflow.controls.base import Control, Part, Session, attach
from counterflow.controls.features import Features
from counterflow.controls.rows import RowMap
from counterflow.controls.tokens import token_side
from counterflow.flow import Branch, Grid, Latent, Preview, Step, Velocity, Watch
from counterflow.methods.query import Query
from counterflow.progress import Progress
from counterflow.solvers.base import Solver
from counterflow.solvers.trajectory import Trajectory

ROWS = 8
"""Most samples in one forward, unless the editor is told otherwise."""


@dataclass
class Run:
    """What a method sees of a picture, its prompts and the model."""

    backbone: Backbone
    image: Latent
    """The picture's latent, `[1, c, h, w]`."""
    grid: Grid
    source: Conditioning
    negative: Conditioning
    targets: Sequence[Conditioning] = ()
    maps: Sequence[RowMap] = ()
    """For each target, which source row each of its text rows corresponds to."""
    features: Features = field(default_factory=Features)
    begin: Latent | None = None
    """Noise that the targets start from in place of the source's, `[1, c, h, w]`."""
    seed: int = 0
    mask: Tensor | None = None
    """`[1, 1, h, w]`, 1 where latents may change; None for everywhere."""
    rows: int = ROWS
    label: str = ""
    expected: int = 0
    """Steps that will be made in all."""
    progress: Progress | None = None
    watch: Watch | None = None
    preview: Preview | None = None
    forwards: int = 0
    """Evaluations of the network on single samples, so far."""
    own: int = 0
    """Those of them that are made for each target; the others are shared by all."""
    residuals: dict[int, float] = field(default_factory=dict)
    """By step, the relative fixed-point residual where it was measured."""
    found: list[Tensor] = field(default_factory=list)
    """A method's own masks, `[targets, 1, h, w]` from 0 to 1, as the method tells them."""
    errors: dict[int, float] = field(default_factory=dict)
    """By step, how far the compensated source landed from the next stored latent."""

    def __post_init__(self) -> None:
        self.session = Session((), (), self.features)
        self._began = time.perf_counter()
        self.made = 0
        self._generator = torch.Generator().manual_seed(self.seed)
        self._stacks: dict[tuple[tuple[Branch, int, float], ...], Conditioning] = {}

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self._began

    @property
    def size(self) -> tuple[int, int]:
        """The picture's, (width, height), as the model works on it."""
        height, width = (
            cells // token_side(self.backbone) * self.backbone.token
            for cells in self.image.shape[2:]
        )
        return width, height

    def of_source(
        self,
        x: Latent,
        guidance: float = 1,
        features: Step | None = None,
        wanted: bool = True,
        recalled: Step | None = None,
    ) -> Query:
        """Ask for the velocity under the source prompt; its features are remembered."""
        scale = self.backbone.guidance(guidance)
        return Query("source", x, scale, features, wanted=wanted, recalled=recalled)

    def of_target(
        self,
        x: Latent,
        guidance: float = 1,
        features: Step | None = None,
        optional: bool = False,
        recalled: Step | None = None,
    ) -> Query:
        """Ask for the velocity under the target prompts, one row of `x` for each, controlled."""
        scale = self.backbone.guidance(guidance)
        return Query("target", x, scale, features, optional, recalled=recalled)

    def of_negative(self, x: Latent) -> Query:
        """Ask for the velocity under the negative (unconditional) prompt."""
        return Query("negative", x, self.backbone.guidance(1))

    def velocities(self, step: Step, *queries: Query) -> list[Any]:
        """A guided velocity for each query, None for one that is not wanted.

        All rows go through the network together, at most `rows` at once, source rows first:
        so targets may take the features that the source's rows give in the same forward. A
        source that was asked the same before is not asked again by an edit, if no control lacks
        its features.
        """
        kept, edits = self.session.features, step.stage == "edit"
        questions = {id(q): q.question(step) for q in queries if q.wanted and q.shared}
        known = {
            id(q): kept.velocities[questions[id(q)]].to(q.x.device)
            for q in queries
            if edits
            and questions.get(id(q)) in kept.velocities
            and not self.lacks(step, q.features)
        }
        wanted = (q for q in queries if q.wanted and id(q) not in known)
        asked = sorted(wanted, key=lambda q: q.branch != "source")
        guided = [q for q in asked if q.guidance.forwards == 2]
        passes = [*asked, *(replace(q, branch="negative", guides=q.branch) for q in guided)]
        answers = self._forward(step, passes)
        self.forwards += sum(len(q.x) for q in passes)
        self.own += sum(len(q.x) * q.guidance.forwards for q in asked if self._each(q))
        negative = {id(q): v for q, v in zip(guided, answers[len(asked) :], strict=True)}
        for q, conditional in zip(asked, answers[: len(asked)], strict=True):
            known[id(q)] = q.guidance(conditional, negative.get(id(q)))
            if id(q) in questions:
                kept.answer(questions[id(q)], known[id(q)])
        return [known.get(id(q)) for q in queries]

    def velocity(self, branch: Branch, guidance: float = 1, recorded: bool = False) -> Velocity:
        """The guided velocity under one branch's prompt, as solvers take it.

        With `recorded`, controls take the features of the same evaluation of the inversion, where
        there was one.
        """
        scale = self.backbone.guidance(guidance)

        def asked(x: Latent, step: Step) -> Latent:
            features = step.during("invert") if recorded else None
            query = Query(branch, x, scale, features, optional=recorded)
            velocity: Latent = self.velocities(step, query)[0]
            return velocity

        return asked

    def lacks(self, step: Step, features: Step | None = None, recalled: Step | None = None) -> bool:
        """Whether a control at a step needs source features that are not known yet."""
        return self.session.lacks(step, features, recalled)

    def remake(
        self, solver: Solver, known: Trajectory, k: int, before: Any = None, guidance: float = 1
    ) -> None:
        """Make the inversion's step of interval `k` again, for features that it did not leave.

        `before` is the solver's state when the inversion came there.
        """
        again, velocity = self.grid.step(k, "invert"), self.velocity("source", guidance)
        solver.step(velocity, known[k + 1], before, again, self.grid[k + 1], self.grid[k])

    def guided(self, guidance: float) -> bool:
        """Whether a velocity at this guidance takes an unconditional forward."""
        return self.backbone.guidance(guidance).forwards == 2

    def lacks_later(self, step: Step, recalled: Callable[[Grid, int], Step] | None = None) -> bool:
        """Whether a control at this step or a later one does.

        `recalled` says for each interval which evaluation's features stand for the source's own.
        """
        return any(
            self.lacks(self.grid.step(k), recalled=recalled and recalled(self.grid, k))
            for k in self.grid.toward_image(step.index)
        )

    def noised(self, noise: Latent, sigma: float) -> Latent:
        """The picture at a noise level, `(1 - sigma) * image + sigma * noise`."""
        return (1 - sigma) * self.image + sigma * noise

    def noise(self, seed: int | None = None) -> Latent:
        """Standard normal noise of the picture's shape: the run's next, or that of a seed."""
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)
        return torch.randn(self.image.shape, generator=generator).to(self.image)

    def reseed(self) -> None:
        """From now on `noise` gives what it gave from the run's beginning."""
        self._generator.manual_seed(self.seed)

    def measure(self, known: Trajectory, k: int, v: Latent, residual: bool) -> None:
        """Note how a source velocity `v` at stored latent `k` fits the trajectory.

        `residual` says whether it is guided as the inversion was: only then it has a residual.
        """
        if residual:
            self.residuals[k] = known.residual(k, v)
        landed = known[k] + self.grid.width(k) * (v + known.compensation(k, known[k], v))
        self.errors[k] = (landed - known[k + 1]).abs().max().item()

    @contextmanager
    def attached(self, controls: Sequence[Control], features: Features) -> Iterator[None]:
        """Inside, forwards are made under these controls; every hook is gone afterwards."""
        before = self.session
        with attach(self.backbone, controls, features) as self.session, self.backbone.steady():
            try:
                yield
            finally:
                self.session = before

    @contextmanager
    def over(self, grid: Grid) -> Iterator[None]:
        """Inside, the run's steps are those of another grid."""
        before, self.grid = self.grid, grid
        try:
            yield
        finally:
            self.grid = before

    def done(self, step: Step) -> None:
        """Report that a step is made; features that did not fit their budget go."""
        self.session.features.end_step()
        self.made += 1
        if self.progress is not None:
            self.progress(self.label, self.made, self.expected)

    def _each(self, query: Query) -> bool:
        """Whether it is asked once for each target."""
        return query.branch == "target" or len(query.x) == len(self.targets) > 1

    def _forward(self, step: Step, passes: Sequence[Query]) -> list[Latent]:
        """A velocity for each pass, all rows in as few forwards as `rows` allows."""
        if not passes:
            return []
        counts = [len(q.x) for q in passes]
        x, conditioning = torch.cat([q.x for q in passes]), self._conditioning(passes)
        velocities = []
        for start in range(0, len(x), self.rows):
            chunk = slice(start, min(start + self.rows, len(x)))
            with self.session.running(step, list(self._parts(step, passes, chunk))):
                part = conditioning.rows(chunk) if len(x) > self.rows else conditioning
                velocities.append(self.backbone.velocity(x[chunk], step.sigma, part))
        return list(torch.cat(velocities).split(counts))

    def _conditioning(self, passes: Sequence[Query]) -> Conditioning:
        """One row of conditioning for each row of the passes; stacked once a run."""
        key = tuple((q.branch, len(q.x), q.guidance.scale) for q in passes)
        if key not in self._stacks:
            self._stacks[key] = stacked([each for q in passes for each in self._prompts(q)])
        return self._stacks[key]

    def _prompts(self, query: Query) -> list[Conditioning]:
        """The conditioning of each of a query's rows."""
        if query.branch == "target":
            prompts = list(self.targets)
        else:
            prompts = [self.source if query.branch == "source" else self.negative] * len(query.x)
        return [query.guidance.condition(each) for each in prompts]

    def _parts(self, step: Step, passes: Sequence[Query], chunk: slice) -> Iterator[Part]:
        """Whose the rows of a chunk are, counted from its beginning."""
        start = 0
        for query in passes:
            low, high = max(start, chunk.start), min(start + len(query.x), chunk.stop)
            if low < high:
                which = slice(low - start, high - start)
                rows = slice(low - chunk.start, high - chunk.start)
                yield Part(
                    query.branch,
                    rows,
                    query.features or step,
                    self.maps[which] if query.branch == "target" else (),
                    query.optional,
                    query.recalled,
                    query.guides,
                    which,
                )
            start += len(query.x)
