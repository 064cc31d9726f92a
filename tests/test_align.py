"""Token maps between two prompts: worked examples."""

from __future__ import annotations

import pytest

from counterflow.controls.align import (
    align,
    changed_words,
    padding,
    text_map,
    token_map,
    word_spans,
)
from counterflow.prompts import Kind, Segment
from segments import REFUSED, make, segment, words

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
