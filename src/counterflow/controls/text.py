"""Invariance control in the adaptive LayerNorm (FTEdit, arXiv 2411.15843, section 3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.controls.base import RowMap
from counterflow.flow import Step, Window, within


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
        return site.kind == "text" and chosen and any(within(window, step) for window in windows)

    def apply(
        self, site: Site, step: Step, target: Tensor, source: Tensor, rows: Sequence[RowMap]
    ) -> Tensor:
        """Replace unchanged rows, on a copy; edited rows keep their own features."""

        def on(word: str) -> bool:
            return within(self.words.get(word, self.ratio), step)

        held = [each if self.padding else each.without_padding() for each in rows]
        return replace_rows(target, source, [each.only(on) for each in held])


def replace_rows(target: Tensor, source: Tensor, rows: Sequence[RowMap]) -> Tensor:
    """A copy of `target` `[b, n, w]`; row `j` of picture `b` is the source's row `rows[b]` names.

    `source` is `[1, m, w]`; rows that have no partner stay. Raises ValueError unless there is one
    map for each picture.
    """
    out = target.clone()
    for picture, each in zip(out, rows, strict=True):
        to = [j for j, i in enumerate(each.source) if i is not None]
        picture[to] = source[0, [i for i in each.source if i is not None]]
    return out
