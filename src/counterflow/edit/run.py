"""One operation's forwards: counted, timed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from counterflow.backbones.base import Backbone, Conditioning, field_of
from counterflow.flow import Counter, Field, Step, guided

Progress = Callable[[str, int, int], None]
"""Called after each forward with what is running, forwards made, and forwards expected."""


class Run:
    """Counts, times and reports the forwards of one operation."""

    def __init__(
        self,
        backbone: Backbone,
        negative: Conditioning,
        label: str,
        expected: int,
        progress: Progress | None,
    ) -> None:
        self.backbone, self.negative = backbone, negative
        self.label, self.expected, self.progress = label, expected, progress
        self.counter = Counter()
        self.began = time.perf_counter()

    @property
    def forwards(self) -> int:
        return self.counter.forwards

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def expect(self, more: int) -> None:
        """Raise the number of forwards that the progress counts towards."""
        self.expected += more

    def field(
        self,
        conditioning: Conditioning,
        guidance: float,
        wrap: Callable[[Field], Field] = lambda f: f,
    ) -> Field:
        """The guided velocity of a conditioning; `wrap` goes around the conditional pass alone."""
        return guided(
            wrap(self._watched(field_of(self.backbone, conditioning))),
            self._watched(field_of(self.backbone, self.negative)),
            guidance,
        )

    def _watched(self, velocity: Field) -> Field:
        counted = self.counter(velocity)

        def watched(x: Tensor, step: Step) -> Tensor:
            out = counted(x, step)
            if self.progress is not None:
                self.progress(self.label, self.forwards, self.expected)
            return out

        return watched
