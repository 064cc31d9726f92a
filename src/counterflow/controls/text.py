"""Invariance control in the adaptive LayerNorm (FTEdit, arXiv 2411.15843, section 3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.controls.rows import RowMap, held, replace_rows
from counterflow.flow import Step, within
from counterflow.kinds import Window


@dataclass(frozen=True)
class TextControl:
    """Keep what the prompts share: `M_hat[j] = M_source[map(j)]` for unchanged tokens `j`.

    `M` are the modulated text features that enter joint attention. `ratio` is the share of
    steps, from the noise end, in which the control is on (the paper's `ly` ratio, 1.0), or a
    window of them; `blocks` limits it to some blocks of the model; `words` have windows of their
    own in place of `ratio`. Padding is the target's own unless `padding` is set: it is in no
    prompt, and models keep the place and the light there (docs/decisions/0016).
    """

    ratio: Window = 1.0
    blocks: Collection[int] | None = None
    words: Mapping[str, Window] = field(default_factory=dict)
    padding: bool = False

    def wants(self, site: Site, step: Step) -> bool:
        """At every chosen block's text features, within any window."""
        chosen = self.blocks is None or site.block in self.blocks
        windows = (self.ratio, *self.words.values())
        here = site.part == "modulated" and site.stream == "text"
        return here and chosen and any(within(window, step) for window in windows)

    def apply(
        self, site: Site, step: Step, target: Tensor, source: Tensor, rows: Sequence[RowMap]
    ) -> Tensor:
        """Replace unchanged rows, on a copy; edited rows keep their own features."""
        default = within(self.ratio, step)
        words = tuple((word, within(window, step)) for word, window in self.words.items())
        return replace_rows(
            target, source, [held(each, default, words, self.padding) for each in rows]
        )
