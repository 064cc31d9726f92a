"""Rows of text: which of the source's features stand in for which of a target's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from counterflow.backbones.base import Conditioning
from counterflow.controls.align import Level, padding, row_words, text_map


@dataclass(frozen=True)
class RowMap:
    """For each row of a target's text stream, its partner in the source's."""

    source: tuple[int | None, ...]
    """The source's row, or None where the target keeps its own feature."""
    words: tuple[str, ...] = ()
    """The word that each row spells, in lower case; empty for special tokens, or not known."""
    padding: frozenset[int] = frozenset()
    """The target's rows of padding."""

    @cached_property
    def indices(self) -> tuple[Tensor, Tensor]:
        """The target's rows that have a partner, and their partners."""
        pairs = [(j, i) for j, i in enumerate(self.source) if i is not None]
        to, of = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
        return to, of


@lru_cache(maxsize=4096)
def held(rows: RowMap, default: bool, words: tuple[tuple[str, bool], ...], pads: bool) -> RowMap:
    """The partners of some rows alone: of words that are on, and of padding if `pads`.

    `default` says whether a row is on whose word is not among `words`.
    """
    on = dict(words)
    spelled = rows.words or ("",) * len(rows.source)
    kept = tuple(
        i if on.get(word, default) and (pads or j not in rows.padding) else None
        for j, (i, word) in enumerate(zip(rows.source, spelled, strict=True))
    )
    return RowMap(kept, rows.words, rows.padding)


def row_map(source: Conditioning, target: Conditioning, level: Level = "token") -> RowMap:
    """The map between two embedded prompts, by `align.text_map`."""
    prompts = (source.prompt, target.prompt)
    rows = text_map(source.segments, target.segments, target.length, level, prompts)
    words = row_words(target.segments, target.length, target.prompt)
    return RowMap(tuple(rows), tuple(words), padding(target.segments))


def replace_rows(target: Tensor, source: Tensor, rows: Sequence[RowMap]) -> Tensor:
    """A copy of `target` `[b, n, w]`; row `j` of picture `b` is the source's row `rows[b]` names.

    `source` is `[1, m, w]`; rows that have no partner stay. Raises ValueError unless there is one
    map for each picture.
    """
    out = target.clone()
    for picture, each in zip(out, rows, strict=True):
        to, of = each.indices
        picture[to] = source[0, of]
    return out
