"""Windows of steps, and of single words."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from counterflow.backbones.base import Site
from counterflow.controls.rows import RowMap, row_map
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.flow import Step, within
from counterflow.methods.ftedit import FTEdit
from tools import SCENE, SOURCE, distance, inverted

BLUE = SOURCE.replace(SCENE.color, "blue")


def steps_of(window: float | tuple[float, float], count: int) -> list[int]:
    return [k for k in range(count) if within(window, Step(k, count, 0.5))]


def test_the_papers_windows() -> None:
    assert steps_of(0.15, 30) == [0, 1, 2, 3]
    assert steps_of((0.2, 0.5), 10) == [2, 3, 4]
    assert steps_of(1.0, 7) == list(range(7)) and steps_of(0.0, 7) == []


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_windows_that_meet_fill_the_whole(count: int, first: float, second: float) -> None:
    """[0, a), [a, b) and [b, 1) have every step once; a share is a window from 0."""
    a, b = sorted((first, second))
    parts = steps_of((0.0, a), count) + steps_of((a, b), count) + steps_of((b, 1.0), count)
    assert parts == list(range(count))
    assert steps_of(a, count) == steps_of((0.0, a), count)
    assert len(steps_of(a, count)) == math.floor(a * count + 1e-9)


def test_every_row_knows_its_word(editor: Editor) -> None:
    """In every tokenizer's rows, whatever pieces a word is cut into; specials have none."""
    conditioning = editor.backbone.embed(SOURCE)
    rows = row_map(conditioning, conditioning, "token")
    spelled: dict[str, int] = {}
    for segment in conditioning.segments:
        for row, kind in enumerate(segment.kinds):
            word = rows.words[segment.start + row]
            assert (word != "") == (kind == "content")
            if kind == "content":
                start, stop = segment.offsets[row]
                assert SOURCE[start:stop].strip().lower() in word
                spelled[word] = spelled.get(word, 0) + 1
    assert set(spelled) >= set(SOURCE.replace(",", "").lower().split())


@pytest.mark.parametrize("step", [0, 3, 4, 9])
def test_a_word_has_its_own_window(step: int) -> None:
    """Of ten steps "wooden" is kept in the first four, the rest by the control's own window."""
    rows = RowMap((1, 0, None, 2), ("a", "wooden", "blue", "bear"))
    control = TextControl((0.2, 1.0), None, {"wooden": 0.4})
    target, source = torch.zeros(1, 4, 2), torch.arange(1.0, 4).view(1, 3, 1).expand(1, 3, 2)

    here, where = Site("text", "modulated", 0, nn.Identity()), Step(step, 10, 0.5)
    assert control.wants(here, where)
    out = control.apply(here, where, target, source, [rows])[0, :, 0].tolist()
    others = step >= 2
    assert out == [2.0 * others, 1.0 * (step < 4), 0, 3.0 * others]


def edited(editor: Editor, **options: object) -> Tensor:
    return editor.edit(inverted(editor, steps=10, iterations=0), BLUE, **options).latent


def test_word_windows_in_an_edit(editor: Editor) -> None:
    """The whole control's window given to each word changes nothing; another one does; a window
    of the control is its share, and one that is empty is no control.
    """
    full = edited(editor)
    words = dict.fromkeys(SOURCE.lower().replace(",", "").split(), 1.0)
    words.pop(SCENE.color)
    assert torch.equal(edited(editor, text_words=words), full)
    some = edited(editor, text_words={SCENE.kind: 0.4})
    assert distance(some, full) > 1e-6
    assert torch.equal(edited(editor, text_words=((SCENE.kind.upper(), 0.4),)), some)
    assert torch.equal(edited(editor, text_ratio=(0.0, 0.5)), edited(editor, text_ratio=0.5))
    assert torch.equal(edited(editor, text_ratio=(0.5, 0.5)), edited(editor, text_ratio=0.0))
    assert distance(edited(editor, text_ratio=(0.5, 1.0)), full) > 1e-6


def test_a_word_is_one_wherever_it_is_asked_for(one: Editor) -> None:
    """A hyphen or an apostrophe does not part it, and its window does something."""
    source, target = "a well-known cat's hat", "a well-known dog's hat"
    FTEdit(text_words={"Well-Known": 0.4}).check_prompts(source, target)
    for word in ("well", "known", "cat's", "-"):
        with pytest.raises(InputError, match="both say"):
            FTEdit(text_words={word: 0.4}).check_prompts(source, target)
    inversion = inverted(one, steps=4, iterations=0)
    inversion = one.invert(inversion.picture, source, steps=4, iterations=0)
    off = one.edit(inversion, target, text_words={"well-known": 0.0}).latent
    assert distance(off, one.edit(inversion, target).latent) > 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"text_words": {"wooden": 0.4}},
        {"text_words": {SCENE.color: 0.4}},
        {"text_words": {SCENE.kind[:-1]: 0.4}},
        {"text_words": {SCENE.kind: 1.4}},
        {"text_words": {SCENE.kind: (0.5, 0.4)}},
        {"text_ratio": (0.5, 0.4)},
        {"text_ratio": (0.1, 0.2, 0.3)},
        {"attention_ratio": (0.5, 1.1)},
    ],
    ids=str,
)
def test_bad_windows_are_refused(one: Editor, options: dict[str, object]) -> None:
    """A word that only one of the prompts says has no feature to keep."""
    with pytest.raises((InputError, TypeError)):
        one.edit(inverted(one, steps=2, iterations=0), BLUE, **options)
