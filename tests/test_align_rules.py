"""Token maps between two prompts: the rules as properties."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from counterflow.controls.align import (
    align,
    changed_words,
    text_map,
    token_map,
)
from counterflow.prompts import Kind, Segment
from segments import BEGIN, END, PAD, lcs_length, make, rows_of, segment

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
