"""Token maps between two prompts: worked examples, and the rules as properties."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterflow.controls.align import (
    align,
    changed_words,
    padding,
    text_map,
    token_map,
    word_spans,
)
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


# Alignment


def test_adjective_swap_keeps_all_else() -> None:
    assert align(words("a red cat sits"), words("a blue cat sits")) == [0, None, 2, 3]


def test_inserted_phrase() -> None:
    old, new = words("a cat on grass"), words("a cat with a hat on grass")
    assert align(old, new) == [0, 1, None, None, None, 2, 3]


def test_deletion() -> None:
    assert align(words("a cat with a hat on grass"), words("a cat on grass")) == [0, 1, 5, 6]


def test_doubled_word_in_target_has_one_partner() -> None:
    assert align(words("a red cat"), words("a red red cat")) == [0, 1, None, 2]


def test_doubled_word_in_source_gives_one_partner() -> None:
    assert align(words("a red red cat"), words("a red cat")) == [0, 1, 3]


def test_repeated_article_follows_its_noun() -> None:
    """Either "a" (or "big") of the source could be the partner at equal score."""
    assert align(words("x a q a big y"), words("u a big v")) == [None, 3, 4, None]
    assert align(words("x a big q big y"), words("u a big v")) == [None, 1, 2, None]


def test_overlapping_ends_the_longer_wins() -> None:
    assert align(words("a red cat"), words("a dog and a red cat")) == [None, None, None, 0, 1, 2]
    assert align(words("a cat"), words("a cat a cat")) == [0, 1, None, None]


def test_equal_only_despite_mismatch_that_wins() -> None:
    """With dear gaps a substitution is aligned as a mismatch; it is still no partner."""
    assert align("xay", "xby", gap=-2) == [0, None, 2]


def test_costly_gaps_change_the_optimum() -> None:
    """Two matches cost four gaps, one match and no gap scores more with dear gaps."""
    source, target = "pabcq", "rcabs"
    assert align(source, target) == [None, None, 1, 2, None]
    assert align(source, target, mismatch=0, gap=-5) == [None] * 5


def test_empty_sequences() -> None:
    assert align([], []) == []
    assert align(["a"], []) == []
    assert align([], ["a"]) == [None]


@pytest.mark.parametrize("scores", [(1, 1, 0), (0, -1, 0), (1, -1, 1)])
def test_scores_that_break_the_rules_are_refused(scores: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="mismatch < match"):
        align("ab", "ab", *scores)


# Token maps


def test_specials_and_padding_of_a_longer_target() -> None:
    """The target's end moves onto a source padding row, and still maps to end."""
    source, target = segment("a cat", 7), segment("a red cat", 7)
    assert token_map(source, target) == (0, 1, None, 2, 3, 5, 6)


def test_specials_and_padding_of_a_shorter_target() -> None:
    """Where the source has content or end, the target's padding takes the last padding row."""
    source, target = segment("a red cat", 7), segment("cat", 7)
    assert target.kinds == ("begin", "content", "end", "pad", "pad", "pad", "pad")
    assert token_map(source, target) == (0, 3, 4, 6, 6, 5, 6)


def test_source_without_padding() -> None:
    source, target = segment("a red cat", 5), segment("a cat", 5)
    assert token_map(source, target) == (0, 1, 3, 4, None)


def test_source_truncated_before_its_end_and_without_begin() -> None:
    source = segment("a red cat on the grass", 4, begin=False, end=False)
    target = segment("a red cat", 6)
    assert token_map(source, target) == (None, 0, 1, 2, None, None)


def test_segments_of_different_length() -> None:
    source, target = segment("a cat", 5), segment("a cat", 8)
    assert token_map(source, target) == (0, 1, 2, 3, 4, 4, 4, 4)


def test_several_end_tokens_map_in_order() -> None:
    kinds: tuple[Kind, ...] = ("content", "end", "end")
    chat = make((5, 2, 3), ((0, 1), (0, 0), (0, 0)), kinds)
    assert token_map(chat, chat) == (0, 1, 2)


def test_word_level_needs_every_piece() -> None:
    """'redder' and 'redhot' share the piece 'red': kept by token, not by word."""
    prompts = "a redder cat", "a redhot cat"
    source, target = (segment(p, 8, piece=3) for p in prompts)
    assert token_map(source, target, "token") == (0, 1, 2, None, 4, 5, 6, 7)
    assert token_map(source, target, "word", prompts) == (0, 1, None, None, 4, 5, 6, 7)


def test_word_level_maps_all_pieces_of_a_kept_word() -> None:
    prompts = "a painted cat", "one big painted dog"
    source, target = (segment(p, 10, piece=4) for p in prompts)
    # begin | one big pain ted dog | end pad...
    assert token_map(source, target, "word", prompts) == (0, None, None, 2, 3, None, 5, 7, 8, 9)


def test_word_level_pieces_that_carry_the_space_before_them() -> None:
    """SentencePiece offsets may take in the space, or a space may be a piece of its own."""
    kinds: tuple[Kind, ...] = ("content",) * 4
    prompts = "a  cat", "b  cat"
    offsets = ((0, 1), (1, 2), (2, 5), (5, 6))
    source = make((7, 3, 8, 9), offsets, kinds)
    target = make((6, 3, 8, 9), offsets, kinds)
    other = make((6, 4, 8, 9), offsets, kinds)
    assert token_map(source, target, "word", prompts) == (None, 1, 2, 3)
    assert token_map(source, other, "word", prompts) == (None, None, None, None)


def test_word_level_without_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match="two prompts"):
        token_map(segment("a"), segment("a"), "word")


def test_unknown_level_is_refused() -> None:
    with pytest.raises(REFUSED, match="letter"):
        token_map(segment("a"), segment("a"), "letter")  # type: ignore[arg-type]


def test_segment_checks_its_rows() -> None:
    with pytest.raises(ValueError, match="must fill"):
        Segment("clip", 0, (1, 2), ((0, 0),), ("pad",))


# Whole text streams


def test_stream_of_two_tokenizers_in_a_row() -> None:
    """SD3's order: CLIP, then T5 with no begin token; rows under neither stay unmapped."""
    source = [segment("a cat", 5), segment("a cat", 4, 5, "t5", begin=False)]
    target = [segment("a dog", 5), segment("a dog", 4, 5, "t5", begin=False)]
    assert text_map(source, target, 10) == [0, 1, None, 3, 4, 5, None, 7, 8, None]


def test_overlapping_tokenizers_that_disagree() -> None:
    """The second cuts words in two, so that from 'big' on the two see different words in a row."""
    source = [segment("a big cat", 9, name=n, piece=p) for n, p in (("l", 9), ("g", 2))]
    target = [segment("a big red cat", 9, name=n, piece=p) for n, p in (("l", 9), ("g", 2))]
    alone = [token_map(s, t) for s, t in zip(source, target, strict=True)]
    assert alone[0] == (0, 1, 2, None, 3, 4, 6, 7, 8)  # begin a big | red | cat end pad pad pad
    assert alone[1] == (0, 1, 2, 3, None, None, 4, 5, 6)  # begin a bi g | re d | ca t end
    assert text_map(source, target, 9) == [0, 1, 2, None, None, None, None, None, None]


def test_overlapping_tokenizers_that_agree() -> None:
    source = [segment("a big cat", 8, name=n) for n in "lg"]
    target = [segment("a big dog", 8, name=n) for n in "lg"]
    assert text_map(source, target, 8) == [0, 1, 2, None, 4, 5, 6, 7]


def test_rows_of_padding() -> None:
    """A row is padding only if it is to all tokenizers that fill it."""
    clip_l, clip_g = segment("a big cat", 9, name="l"), segment("a big cat", 9, name="g", piece=2)
    t5 = segment("a cat", 5, 9, "t5")
    assert clip_l.kinds[5:] == ("pad",) * 4
    assert clip_g.kinds[5:] == ("content", "end", "pad", "pad")
    expected = {7, 8} | {9 + i for i, kind in enumerate(t5.kinds) if kind == "pad"}
    assert padding([clip_l, clip_g, t5]) == expected
    assert padding([clip_l]) == {5, 6, 7, 8}


def test_stream_map_by_words() -> None:
    prompts = "a redder cat", "a redhot cat"
    source, target = ([segment(p, 8, 2, piece=3)] for p in prompts)
    expected = [None, None, 2, 3, None, None, 6, 7, 8, 9]
    assert text_map(source, target, 10, "word", prompts) == expected


def test_segments_are_matched_by_name() -> None:
    clip, t5 = segment("a", 4), segment("a", 4, 4, "t5")
    with pytest.raises(ValueError, match="segments differ"):
        text_map([clip, t5], [t5, clip], 8)
    with pytest.raises(ValueError, match="segments differ"):
        text_map([clip], [clip, t5], 8)


def test_stream_too_short_for_its_segments() -> None:
    with pytest.raises(ValueError, match="7 rows"):
        text_map([segment("a", 8)], [segment("a", 8)], 7)


# Words of a prompt


def test_word_spans() -> None:
    assert word_spans(" a red,  cat\n") == [(1, 2), (3, 6), (6, 7), (9, 12)]
    assert word_spans(" ") == []


def test_changed_words_are_spans_of_the_target() -> None:
    target = "a blue cat with a hat on grass"
    spans = changed_words("a red cat on grass", target)
    assert [target[start:stop] for start, stop in spans] == ["blue", "with", "a", "hat"]
    assert changed_words(target, target) == []


# Properties

few = st.lists(st.sampled_from("abcd"), max_size=9)
prompts_of_few = st.lists(st.sampled_from(["a", "red", "redder", "cat", "ca"]), max_size=6).map(
    " ".join
)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Any tokenizer's row layout that the adapters may declare."""
    content = draw(st.lists(st.integers(10, 14), max_size=8))
    begin, end = draw(st.booleans()), draw(st.integers(0, 2))
    pads = draw(st.integers(0, 5))
    counts: dict[Kind, int] = {"begin": begin, "content": len(content), "end": end, "pad": pads}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    if draw(st.booleans()):  # padding on the left
        kinds = kinds[len(kinds) - pads :] + kinds[: len(kinds) - pads]
    given_ids = iter(content)
    special = {"begin": BEGIN, "end": END, "pad": PAD}
    ids = tuple(next(given_ids) if k == "content" else special[k] for k in kinds)
    return make(ids, ((0, 0),) * len(ids), tuple(kinds))


def lcs_length(source: Sequence[str], target: Sequence[str]) -> int:
    """The textbook recurrence, as an oracle."""
    table = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, a in enumerate(source):
        for j, b in enumerate(target):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else longer
    return table[-1][-1]


def common_prefix(source: Sequence[str], target: Sequence[str]) -> int:
    length = 0
    while length < min(len(source), len(target)) and source[length] == target[length]:
        length += 1
    return length


def unbroken(partners: Sequence[int | None], sources: int) -> int:
    """Neighbours that stay neighbours, the two ends of the prompt counted as matches."""
    closed = [-1, *partners, sources]
    return sum(a is not None and b is not None and b == a + 1 for a, b in pairwise(closed))


def all_maps(
    source: Sequence[str], target: Sequence[str], i: int = 0, j: int = 0
) -> list[list[int | None]]:
    """Every strictly increasing map of target positions to equal source positions."""
    if j == len(target):
        return [[]]
    maps = [[None, *rest] for rest in all_maps(source, target, i, j + 1)]
    for k in range(i, len(source)):
        if source[k] == target[j]:
            maps += [[k, *rest] for rest in all_maps(source, target, k + 1, j + 1)]
    return maps


@given(few, few)
def test_number_of_matches_is_the_longest_common_subsequence(
    source: list[str], target: list[str]
) -> None:
    matched = [i for i in align(source, target) if i is not None]
    assert len(matched) == lcs_length(source, target)


@given(few, few, st.integers(-4, 0), st.integers(-4, 0))
def test_score_is_optimal_for_any_scores(
    source: list[str], target: list[str], mismatch: int, gap: int
) -> None:
    """Against the plain Needleman-Wunsch score; unmatched runs are paired as best pays."""

    def runs_cost(a: int, b: int) -> int:
        pairs = min(a, b) if mismatch > 2 * gap else 0
        return pairs * mismatch + (a + b - 2 * pairs) * gap

    score, last_i, last_j = 0, -1, -1
    partners = align(source, target, 2, mismatch, gap)
    for j, i in enumerate([*partners, len(source)]):  # the ends, as one more match
        if i is None:
            continue
        score += 2 + runs_cost(i - last_i - 1, j - last_j - 1)
        last_i, last_j = i, j
    n, m = len(source), len(target)
    best = [[(i + j) * gap for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            pair = 2 if source[i - 1] == target[j - 1] else mismatch
            best[i][j] = max(best[i - 1][j - 1] + pair, best[i - 1][j] + gap, best[i][j - 1] + gap)
    assert score - 2 == best[n][m]


@given(
    st.lists(st.sampled_from("ab"), max_size=5),
    st.lists(st.sampled_from("ab"), max_size=5),
)
def test_fewest_breaks_among_equal_scores(source: list[str], target: list[str]) -> None:
    """Fenced by unequal ends, so that the rule on identical ends has nothing to say."""
    source, target = ["s", *source, "s"], ["t", *target, "t"]
    chosen = align(source, target)
    best = max(
        (sum(i is not None for i in partners), unbroken(partners, len(source)))
        for partners in all_maps(source, target)
    )
    assert (sum(i is not None for i in chosen), unbroken(chosen, len(source))) == best


@given(few, few)
def test_common_ends_are_mapped(source: list[str], target: list[str]) -> None:
    partners = align(source, target)
    n, m = len(source), len(target)
    head, tail = common_prefix(source, target), common_prefix(source[::-1], target[::-1])
    if head + tail <= min(n, m) or head >= tail:
        assert partners[:head] == list(range(head))
    if head + tail <= min(n, m) or tail > head:
        assert partners[m - tail :] == list(range(n - tail, n))
    if head + tail > min(n, m):
        assert sum(i is not None for i in partners) == min(n, m)


@given(few, few, few)
def test_an_insertion_or_deletion_keeps_all_the_rest(
    head: list[str], added: list[str], tail: list[str]
) -> None:
    short, long = head + tail, head + added + tail
    assert sorted(i for i in align(short, long) if i is not None) == list(range(len(short)))
    assert None not in align(long, short)


@given(segments())
def test_equal_prompts_give_the_identity(same: Segment) -> None:
    rows = list(range(same.stop))
    assert list(token_map(same, same)) == rows
    assert text_map([same], [same], same.stop) == rows


@given(prompts_of_few, st.integers(4, 12))
def test_equal_prompts_give_the_identity_by_words(prompt: str, rows: int) -> None:
    same = segment(prompt, rows, piece=3)
    assert token_map(same, same, "word", (prompt, prompt)) == tuple(range(rows))
    assert changed_words(prompt, prompt) == []


@given(segments(), segments())
def test_each_kind_maps_to_its_own_kind(source: Segment, target: Segment) -> None:
    for row, partner in enumerate(token_map(source, target)):
        if partner is not None:
            assert source.kinds[partner] == target.kinds[row]


@given(segments(), segments())
def test_padding_is_mapped_wherever_the_source_has_any(source: Segment, target: Segment) -> None:
    mapping = token_map(source, target)
    padding = rows_of(source, "pad")
    for row in rows_of(target, "pad"):
        expected = row if row in padding else max(padding, default=None)
        assert mapping[row] == expected


@given(segments(), segments())
def test_content_is_equal_and_in_order(source: Segment, target: Segment) -> None:
    mapping = token_map(source, target)
    pairs = [(row, mapping[row]) for row in rows_of(target, "content")]
    partners = [partner for _, partner in pairs if partner is not None]
    assert partners == sorted(set(partners))
    assert all(source.ids[i] == target.ids[j] for j, i in pairs if i is not None)


@given(prompts_of_few, prompts_of_few)
def test_by_words_content_is_equal_in_order_and_whole(old: str, new: str) -> None:
    source, target = segment(old, 24, piece=3), segment(new, 24, piece=3)
    mapping = token_map(source, target, "word", (old, new))
    rows = rows_of(target, "content")
    partners = [i for i in (mapping[row] for row in rows) if i is not None]
    assert partners == sorted(set(partners))
    changed = changed_words(old, new)
    for row in rows:
        partner = mapping[row]
        start, stop = target.offsets[row]
        assert (partner is None) == any(a <= start and stop <= b for a, b in changed)
        assert partner is None or source.ids[partner] == target.ids[row]


@given(segments(), segments(), st.permutations(range(15)))
def test_names_of_ids_do_not_matter(source: Segment, target: Segment, names: list[int]) -> None:
    def renamed(its: Segment) -> Segment:
        return make(tuple(names[i] for i in its.ids), its.offsets, its.kinds)

    assert token_map(renamed(source), renamed(target)) == token_map(source, target)
