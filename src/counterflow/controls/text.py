"""Invariance control in the adaptive LayerNorm (FTEdit, arXiv 2411.15843, section 3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.controls.base import RowMap
from counterflow.flow import Step, first_steps


@dataclass(frozen=True)
class TextControl:
    """Keep what the prompts share: `M_hat[j] = M_source[map(j)]` for unchanged tokens `j`.

    `M` are the modulated text features that enter joint attention. `ratio` is the share of
    steps, from the noise end, in which the control is on (the paper's `ly` ratio, 1.0);
    `blocks` limits it to some blocks of the model.
    """

    ratio: float = 1.0
    blocks: Collection[int] | None = None

    def wants(self, site: Site, step: Step) -> bool:
        """At every chosen block's text features, within the window."""
        chosen = self.blocks is None or site.block in self.blocks
        return site.kind == "text" and chosen and first_steps(self.ratio, step)

    def apply(self, site: Site, target: Tensor, source: Tensor, rows: RowMap) -> Tensor:
        """Replace unchanged rows, on a copy; edited rows keep their own features."""
        return replace_rows(target, source, rows)


def replace_rows(target: Tensor, source: Tensor, rows: RowMap) -> Tensor:
    """A copy of `target` `[b, n, w]` whose row `j` is the source's row `rows[j]`, where given."""
    to = [j for j, i in enumerate(rows) if i is not None]
    taken = [i for i in rows if i is not None]
    out = target.clone()
    out[:, to] = source[:, taken].expand(target.shape[0], -1, -1)
    return out
