"""A toy tokenizer: segments as the adapters may declare them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from counterflow.prompts import Kind, Segment

BEGIN, END, PAD = 1, 2, 0
REFUSED = (ValueError, TypeError)  # TypeError from the annotations, where pytest checks them


def segment(
    prompt: str,
    rows: int = 10,
    start: int = 0,
    name: str = "clip",
    begin: bool = True,
    end: bool = True,
    piece: int = 100,
) -> Segment:
    """A toy tokenizer: words cut into pieces of at most `piece` letters, then truncated, padded.

    Ids are made from the spelling, so equal pieces have equal ids. As in CLIP, truncation
    drops the last content and keeps the end unless `end` is False.
    """
    found = [
        (hash_of(prompt[at : min(at + piece, stop)]), (at, min(at + piece, stop)))
        for first, stop in (m.span() for m in re.finditer(r"\S+", prompt))
        for at in range(first, stop, piece)
    ][: rows - begin - end]
    table: list[tuple[int, tuple[int, int], Kind]] = []
    if begin:
        table.append((BEGIN, (0, 0), "begin"))
    table.extend((token, span, "content") for token, span in found)
    if end:
        table.append((END, (0, 0), "end"))
    table.extend([(PAD, (0, 0), "pad")] * (rows - len(table)))
    ids, offsets, kinds = zip(*table, strict=True)
    return make(ids, offsets, kinds, start, name)


def make(
    ids: tuple[int, ...],
    offsets: tuple[tuple[int, int], ...],
    kinds: tuple[Kind, ...],
    start: int = 0,
    name: str = "any",
) -> Segment:
    return Segment(name, start, ids, offsets, kinds)


def rows_of(its: Segment, kind: Kind) -> list[int]:
    return [row for row, each in enumerate(its.kinds) if each == kind]


def hash_of(text: str) -> int:
    return 10 + int.from_bytes(text.encode(), "big")


def words(prompt: str) -> list[str]:
    return prompt.split()


def lcs_length(source: Sequence[Hashable], target: Sequence[Hashable]) -> int:
    """The textbook recurrence, as an oracle."""
    table = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, a in enumerate(source):
        for j, b in enumerate(target):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else longer
    return table[-1][-1]
