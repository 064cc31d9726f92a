"""What is kept of a source, so that it is computed once: features and velocities.

Features are what a control took from the source's rows, known by the evaluation and the site.
Velocities, under the source's or the empty prompt, are known by all that decides them beside it.
So an edit finds what the inversion or an edit before it asked, whatever method that was.
Both are kept on the host, and come to the device where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.flow import Branch, Half, Step

Evaluation = tuple[str, int, int]
"""Stage, interval and number within it: which evaluation of the source features are of."""


def evaluation(step: Step) -> Evaluation:
    """The key of a step's features."""
    return step.stage, step.index, step.evaluation


KEEP = 2 << 30
"""Bytes of the host that are kept of a picture, unless the editor is told otherwise."""

HOST = torch.device("cpu")

Question = tuple[Branch, float, float, bytes]
"""Whose prompt, noise level, scale of guidance, and a digest of the latent that is asked at."""


@dataclass
class Features:
    """Of the source, what further targets need not compute again: features and velocities.

    Features are known by evaluation and site, velocities by the question. Both are kept in the
    precision they were computed in, on the host, and no more than `budget` bytes together: beyond
    it features are there for the running step only, on the device, velocities not at all, and are
    computed again.
    """

    budget: int = KEEP
    kept: dict[tuple[Evaluation, str], Tensor] = field(default_factory=dict)
    passing: dict[tuple[Evaluation, str], Tensor] = field(default_factory=dict)
    velocities: dict[Question, Tensor] = field(default_factory=dict)
    device: torch.device = HOST
    """Where the features came from, for who computes with them."""
    size: int = 0
    seen: Tensor | None = None
    """`[image tokens, text rows]`: mean attention of the inversion's evaluations."""
    lasting: frozenset[Any] = frozenset()
    """What `forget` keeps: that which the inversion left."""

    def put(self, step: Step, site: Site, value: Tensor, half: Half = "conditional") -> None:
        """Remember a copy of the source's features."""
        key = _key(step, site, half)
        if key in self.kept:
            return
        self.device = value.device
        if self._fits(value):
            self.kept[key] = _copy(value, HOST)
        else:
            self.passing[key] = _copy(value, value.device)

    def get(self, step: Step, site: Site, half: Half = "conditional") -> Tensor | None:
        """The source's features of an evaluation at a site, if they are known; on the host, if
        they are kept there.
        """
        key = _key(step, site, half)
        return self.passing.get(key, self.kept.get(key))

    def answer(self, question: Question, velocity: Tensor) -> None:
        """Remember a copy of a guided velocity."""
        if question not in self.velocities and self._fits(velocity):
            self.velocities[question] = _copy(velocity, HOST)

    def settle(self) -> None:
        """What is known by now lasts, and edits add to it."""
        self.lasting = frozenset((*self.kept, *self.velocities))

    def forget(self) -> None:
        """Let go of what edits left."""
        self.passing.clear()
        self.kept = {key: value for key, value in self.kept.items() if key in self.lasting}
        known = self.velocities.items()
        self.velocities = {key: value for key, value in known if key in self.lasting}
        if not self.lasting:
            self.seen = None
        self.size = sum(each.nbytes for each in (*self.kept.values(), *self.velocities.values()))

    def end_step(self) -> None:
        """Forget what did not fit the budget."""
        self.passing.clear()

    def _fits(self, value: Tensor) -> bool:
        """Whether the budget has room for it, which is then taken."""
        fits = self.size + value.nbytes <= self.budget
        self.size += value.nbytes * fits
        return fits


def _copy(value: Tensor, device: torch.device) -> Tensor:
    return value.detach().to(device, copy=True)


def _key(step: Step, site: Site, half: Half) -> tuple[Evaluation, str]:
    return evaluation(step), site.name if half == "conditional" else f"{site.name} {half}"
