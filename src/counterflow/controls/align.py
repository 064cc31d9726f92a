"""Token maps between two prompts: which token of the source is which token of the target.

FTEdit (arXiv 2411.15843, section 3) keeps an image's unchanged parts by giving every target
token that has a partner in the source prompt the source's text feature, at the source token's
own position; edited tokens keep their own:

    M_hat[j] = M_source[map(j)]  if target token j is unchanged else M_target[j]

This file computes `map` only. A map lists, for each target row, the source row whose feature it
takes, or None where the target keeps its own. Rows are counted from 0.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Literal, get_args
from unicodedata import category

from counterflow.prompts import Kind, Segment

Level = Literal["token", "word"]

JOINERS = "\u200c\u200d"
"""Signs of no width that keep two letters of a word apart, or make two pictures one."""

MARKED_WORDS = 300
"""Most words of a prompt that `changed_words` compares."""


def align(
    source: Sequence[Hashable],
    target: Sequence[Hashable],
    match: int = 1,
    mismatch: int = -1,
    gap: int = 0,
) -> list[int | None]:
    """Needleman-Wunsch global alignment (FTEdit, arXiv 2411.15843, section 3).

    Returns, for each target position, the position of the equal source token aligned with it,
    else None. A pair aligned as a mismatch is not equal and yields None. With the default
    scores two gaps (0) always beat a mismatch (-1), so this is a longest common subsequence.

    Many alignments share the best score. The choice is deterministic, by three rules:

    1. An equal beginning and an equal end are mapped first: pairing equal outermost tokens never
       lowers the score, and unedited words should keep their partners. The two may overlap
       ("a red cat", "a dog and a red cat": "a" begins both, "a red cat" ends both). Then the
       longer one is mapped whole, or the beginning if they are equally long.
    2. Of the rest, the alignment with most matches directly after a match is chosen, so that a
       repeated word such as "a" keeps the partner beside its neighbour's.
    3. Then match if possible, else drop a source token, else skip a target token.

    Raises ValueError unless mismatch < match, match > 0 and gap <= 0, which rule 1 needs.
    """
    if not (mismatch < match and match > 0 >= gap):
        raise ValueError("align needs mismatch < match, match > 0 and gap <= 0")

    n, m = len(source), len(target)
    head = _shared(source, target)
    tail = _shared(source[::-1], target[::-1])
    if head >= tail:
        tail = min(tail, n - head, m - head)
    else:
        head = min(head, n - tail, m - tail)
    rest = tuple(source[head : n - tail]), tuple(target[head : m - tail])
    middle = _align_rest(*rest, match, mismatch, gap)
    kept = [None if i is None else head + i for i in middle]
    return [*range(head), *kept, *range(n - tail, n)]


def _shared(source: Sequence[Hashable], target: Sequence[Hashable]) -> int:
    """Length of the common prefix."""
    pairs = zip(source, target, strict=False)
    differ = (k for k, (a, b) in enumerate(pairs) if a != b)
    return next(differ, min(len(source), len(target)))


@lru_cache(maxsize=1024)
def _align_rest(
    source: tuple[Hashable, ...], target: tuple[Hashable, ...], match: int, mismatch: int, gap: int
) -> tuple[int | None, ...]:
    """Rules 2 and 3 of `align`; the beginning and the end count as matches beside the rest.

    `best[joined][i][j]` is the value of aligning `source[i:]` with `target[j:]` when a match came
    just before (`joined`) or not. A match directly after a match adds 1; a point of score adds
    `unit`, which is more than all of these together.
    """
    n, m = len(source), len(target)
    unit = min(n, m) + 2

    def moves(i: int, j: int, joined: bool) -> Iterator[tuple[int, int, int, bool]]:
        """Value of each move from a state, and where it leads; the preferred move first."""
        if i < n and j < m:
            same = source[i] == target[j]
            pair = match * unit + joined if same else mismatch * unit
            yield pair + best[same][i + 1][j + 1], i + 1, j + 1, same
        if i < n:
            yield gap * unit + best[False][i + 1][j], i + 1, j, False
        if j < m:
            yield gap * unit + best[False][i][j + 1], i, j + 1, False

    best = [[[0] * (m + 1) for _ in range(n + 1)] for _ in (False, True)]
    best[True][n][m] = 1
    for i in reversed(range(n + 1)):
        for j in reversed(range(m + 1)):
            for joined in (False, True):
                if (i, j) != (n, m):
                    best[joined][i][j] = max(moves(i, j, joined))[0]

    partners: list[int | None] = [None] * m
    i, j, joined = 0, 0, True
    while (i, j) != (n, m):
        _, i, j, joined = max(moves(i, j, joined), key=itemgetter(0))  # the first of the best
        if joined:
            partners[j - 1] = i - 1
    return tuple(partners)


def token_map(
    source: Segment,
    target: Segment,
    level: Level = "token",
    prompts: tuple[str, str] | None = None,
) -> tuple[int | None, ...]:
    """The map of one tokenizer's rows: the source row for each target row, or None.

    Rows are counted from each segment's start. The map is that of FTEdit (arXiv 2411.15843,
    section 3), with these rules for special tokens:

    - Content maps to equal content, by `align` over tokens, or over words (level "word", which
      needs the source and target `prompts`): a word is unchanged only if all its tokens are.
    - Begin maps to begin and end to end, in order; None where the source has none (truncated).
    - Padding maps to padding only: to the same row where that is padding in the source too, else
      to the source's last padding row; None if the source has no padding.

    Raises ValueError for another level, and for "word" without prompts.
    """
    if level not in get_args(Level) or (level == "word" and prompts is None):
        raise ValueError(f"level must be 'token', or 'word' with the two prompts, not {level!r}")
    before, after = prompts if level == "word" and prompts is not None else (None, None)
    old, new = _units(source, before), _units(target, after)

    rows: dict[int, int] = {}
    for unit, partner in zip(new, align(_ids(source, old), _ids(target, new)), strict=True):
        if partner is not None:
            rows.update(zip(unit, old[partner], strict=True))
    specials: tuple[Kind, ...] = ("begin", "end")
    for kind in specials:
        rows.update(zip(_rows(target, kind), _rows(source, kind), strict=False))
    if padding := _rows(source, "pad"):
        rows.update((row, row if row in padding else padding[-1]) for row in _rows(target, "pad"))
    return tuple(rows.get(row) for row in range(len(target.ids)))


def _rows(segment: Segment, kind: Kind) -> list[int]:
    return [row for row, its in enumerate(segment.kinds) if its == kind]


def _units(segment: Segment, prompt: str | None) -> list[list[int]]:
    """The units to align: single content rows, or with a prompt the rows of each word."""
    content = _rows(segment, "content")
    if prompt is None:
        return [[row] for row in content]
    words = groupby(content, key=_places(segment, prompt).__getitem__)
    return [list(rows) for _, rows in words]


def _places(segment: Segment, prompt: str) -> dict[int, int]:
    """The place among the prompt's words of each content row's word; after them all if none.

    A token is in the last word that it reaches, so that a sign before a letter ("(red", "'t" of
    "'tis") is of that letter's word; a token of space is in the next word.
    """
    spans = word_spans(prompt)
    starts, ends = [start for start, _ in spans], [stop for _, stop in spans]
    tokens = {row: segment.offsets[row] for row in _rows(segment, "content")}
    return {
        row: max(bisect_right(ends, start), bisect_left(starts, stop) - 1)
        for row, (start, stop) in tokens.items()
    }


def _ids(segment: Segment, units: list[list[int]]) -> list[tuple[int, ...]]:
    return [tuple(segment.ids[row] for row in unit) for unit in units]


def text_map(
    source_segments: Sequence[Segment],
    target_segments: Sequence[Segment],
    length: int,
    level: Level = "token",
    prompts: tuple[str, str] | None = None,
) -> list[int | None]:
    """The map of a whole text stream: the source row, or None, for each of `length` target rows.

    Each tokenizer has its own map (FTEdit, arXiv 2411.15843, section 3), shifted to its rows. A
    row that several tokenizers fill is mapped only if all agree on the source row; a row that none
    fills is not mapped. Raises ValueError if the segments' names or order differ, or if `length` is
    too short.
    """
    names = [[s.name for s in segments] for segments in (source_segments, target_segments)]
    if names[0] != names[1]:
        raise ValueError(f"segments differ: source {names[0]}, target {names[1]}")
    if any(s.stop > length for s in target_segments):
        raise ValueError(f"a segment reaches beyond the text stream's {length} rows")
    votes: list[set[int | None]] = [set() for _ in range(length)]
    for source, target in zip(source_segments, target_segments, strict=True):
        for row, partner in enumerate(token_map(source, target, level, prompts), target.start):
            votes[row].add(None if partner is None else source.start + partner)
    return [vote.pop() if len(vote) == 1 else None for vote in votes]


def padding(segments: Sequence[Segment]) -> frozenset[int]:
    """The rows of a text stream that are padding for every tokenizer that fills them."""
    kinds: dict[int, set[Kind]] = {}
    for segment in segments:
        for row, kind in enumerate(segment.kinds, segment.start):
            kinds.setdefault(row, set()).add(kind)
    return frozenset(row for row, row_kinds in kinds.items() if row_kinds == {"pad"})


def row_words(segments: Sequence[Segment], length: int, prompt: str) -> list[str]:
    """The word, in lower case, of each of a text stream's `length` rows.

    It is empty for special tokens, for rows that no tokenizer fills and where tokenizers disagree.
    """
    words = [*spelled(prompt), ""]
    votes: list[set[str]] = [set() for _ in range(length)]
    for segment in segments:
        for row, place in _places(segment, prompt).items():
            votes[segment.start + row].add(words[place])
    return [vote.pop() if len(vote) == 1 else "" for vote in votes]


def word_spans(prompt: str) -> list[tuple[int, int]]:
    """Character spans of a prompt's words and of its punctuation (commas, brackets).

    A combining mark (an accent, a vowel's sign) and a joiner are of the letter before them.
    """
    plain: list[str] = []
    for letter in prompt:
        joined = letter in JOINERS or category(letter)[0] == "M"
        plain.append(plain[-1] if joined and plain and not plain[-1].isspace() else letter)
    return [word.span() for word in re.finditer(r"\w+(?:['’-]\w+)*|[^\w\s]+", "".join(plain))]


def spelled(prompt: str) -> list[str]:
    """A prompt's words in lower case, as `row_words` names them."""
    return [prompt[start:stop].lower() for start, stop in word_spans(prompt)]


def changed_words(source_prompt: str, target_prompt: str) -> list[tuple[int, int]]:
    """Spans in the target prompt of the words that have no equal partner in the source's.

    For display: only the first `MARKED_WORDS` words of each prompt are compared.
    """
    spans = word_spans(target_prompt)[:MARKED_WORDS]
    old = [source_prompt[start:stop] for start, stop in word_spans(source_prompt)[:MARKED_WORDS]]
    new = [target_prompt[start:stop] for start, stop in spans]
    return [span for span, i in zip(spans, align(old, new), strict=True) if i is None]
