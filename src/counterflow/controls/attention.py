"""Attention injection: attention features of the source branch in place of the target's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.controls.rows import RowMap, replace_rows
from counterflow.flow import Half, Stage, Step, within
from counterflow.kinds import Window


@dataclass(frozen=True)
class AttentionControl:
    """Inject `parts` of attention from the source in the first `ratio` of the steps (or a window).

    FTEdit replaces V in every block for 0 to 15 % of the steps, and finds that beyond about
    20 % it blocks non-rigid edits. `tokens` says whose features: the `image`'s, the
    `text`'s (unchanged tokens only, at their own positions in the source prompt), `both`, or `all`:
    every row of both by position, edited words and padding included.
    """

    ratio: Window = 0.0
    parts: Collection[str] = ("v",)
    tokens: str = "image"
    blocks: Collection[int] | None = None
    weights: Tensor | None = field(default=None, compare=False)
    """For image tokens, `[targets, tokens, 1]`: the source's where 1, the target's own where 0."""
    unconditional: Half | None = None
    """Whose features the unconditional rows of the image take; None for their own."""
    stage: Stage | None = None
    """The only stage that it acts in."""

    def wants(self, site: Site, step: Step) -> bool:
        """At the chosen parts, tokens and blocks, within the window."""
        return (
            site.part in self.parts
            and self.tokens in (site.stream, "both", "all")
            and (self.blocks is None or site.block in self.blocks)
            and self.stage in (None, step.stage)
            and within(self.ratio, step)
        )

    def apply(
        self, site: Site, step: Step, target: Tensor, source: Tensor, rows: Sequence[RowMap]
    ) -> Tensor:
        """Image features whole; text features row by row, unless all are."""
        if site.stream == "image" or self.tokens == "all":
            return source.expand_as(target)
        return replace_rows(target, source, rows)
