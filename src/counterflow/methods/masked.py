"""FlowEdit under a mask that is found first: what DecFlowEdit and FusionEdit share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from counterflow.flow import Latent, OneLatent, Step
from counterflow.methods.flowedit import FlowEdit
from counterflow.methods.masks import Map
from counterflow.methods.run import Run


@dataclass(frozen=True)
class Masked(FlowEdit):
    """A method finds its mask once and says what it does to FlowEdit's step.

    The last `n_min` steps, which sample, are free of it.
    """

    def find(self, run: Run) -> Map:
        """The mask, from 0 to 1, of each target."""
        raise NotImplementedError

    def held(self, run: Run, x: Latent, moved: Latent, mask: Map) -> Latent:
        """What comes of latents `x` that FlowEdit would have `moved`."""
        raise NotImplementedError

    def start(self, run: Run, known: None) -> tuple[OneLatent, Any, int]:
        """FlowEdit's, after the mask is found."""
        mask = self.find(run)
        run.found.append(mask)
        x, noises, first = super().start(run, known)
        return x, (mask, noises), first

    def step(self, run: Run, known: None, x: Latent, state: Any, step: Step) -> tuple[Latent, Any]:
        """FlowEdit's, held by the mask."""
        mask, noises = state
        moved, noises = super().step(run, known, x, noises, step)
        if run.grid.steps - step.index > self.n_min:
            moved = self.held(run, x, moved, mask)
        return moved, (mask, noises)

    def outside(self, run: Run, known: None, state: Any, k: int) -> OneLatent:
        """FlowEdit's."""
        return super().outside(run, known, state[1], k)


@dataclass(frozen=True)
class Watched(FlowEdit):
    """FlowEdit that keeps its differences, by step."""

    changes: dict[int, Latent] = field(default_factory=dict, repr=False, compare=False)

    def change(self, run: Run, x: Latent, noises: list[OneLatent], step: Step) -> Latent:
        """FlowEdit's."""
        self.changes[step.index] = super().change(run, x, noises, step)
        return self.changes[step.index]
