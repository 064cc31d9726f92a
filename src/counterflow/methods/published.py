"""The controller of FTEdit's published code, which DirectEdit's shares: its own arithmetic.

It differs from `counterflow.controls` in what it holds; `docs/paper.md` says where and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from counterflow.backbones.base import Backbone, Conditioning, block_count
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.controls.rows import RowMap
from counterflow.controls.text import TextControl
from counterflow.kinds import Number, Window
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.methods.shared import check_feature
from counterflow.settings import setting


@dataclass(frozen=True)
class Published(Method):
    """Text control in all blocks but the last, and V of all rows by position."""

    text_ratio: float = setting(1.0, Number(0, 1), "Share of steps with the text control.")
    attention_ratio: float = setting(0.0, Number(0, 1), "Share of steps with V from the source.")

    attention_everywhere: ClassVar[bool] = False
    """Whether V comes from the source in the last block too."""

    def rounded(self, ratio: float) -> float:
        """A share of the steps rounded by `int`, without regard to binary fractions."""
        return int(self.steps * ratio) / self.steps

    @property
    def attention_window(self) -> Window:
        """Steps with V from the source."""
        return self.rounded(self.attention_ratio)

    def check_model(self, backbone: Backbone) -> None:
        """Refuse a model without the features that the text control holds."""
        if self.text_ratio:
            check_feature(backbone, self.name, "modulated text")

    def controls(self, run: Run, known: Any) -> Sequence[Control]:
        """Both, as the code has them."""
        but_last = range(block_count(run.backbone) - 1)
        blocks = None if self.attention_everywhere else but_last
        return (
            TextControl(self.rounded(self.text_ratio), but_last, padding=True),
            AttentionControl(self.attention_window, ("v",), "all", blocks),
        )

    def row_map(self, source: Conditioning, target: Conditioning) -> RowMap:
        """By `trace_from_end` with begin and end tokens; further rows map to the same number.

        The first tokenizer of a row decides: CLIP-L for both CLIPs.
        """
        rows: list[int | None] = [None] * target.length
        filled = 0
        for old, new in zip(source.segments, target.segments, strict=True):
            if new.start >= filled:
                before, after = (s.ids[: len(s.ids) - s.kinds.count("pad")] for s in (old, new))
                mapped = trace_from_end(before, after)
                mapped += range(len(after), len(new.ids))
                rows[new.start : new.stop] = [i if i is None else old.start + i for i in mapped]
                filled = new.stop
        return RowMap(tuple(rows))


def trace_from_end(source: Sequence[int], target: Sequence[int]) -> list[int | None]:
    """Global alignment, match 1, mismatch -1, gap 0: the source's place for each of the target's.

    Traced from the end, it skips a target token where that costs nothing, else drops a source
    token, and pairs last.
    """
    n, m = len(source), len(target)
    score = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            pair = score[i - 1][j - 1] + (1 if source[i - 1] == target[j - 1] else -1)
            score[i][j] = max(pair, score[i - 1][j], score[i][j - 1])
    partners: list[int | None] = [None] * m
    i, j = n, m
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            partners[j] = i
    return partners
