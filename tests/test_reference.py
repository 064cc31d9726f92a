"""FTEdit as published: its own alignment, padding, windows and blocks, in plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.errors import InputError
from counterflow.flow import Step
from counterflow.methods.published import trace_from_end
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from tools import LONG, SCENE, SOURCE, TARGETS, distance, running

NAME = "ftedit-reference"
few = st.lists(st.integers(0, 2), max_size=6)


# Its alignment


def all_pairings(source: list[int], target: list[int], i: int = 0, j: int = 0) -> list[Any]:
    """Every common subsequence of the two from `i` and `j` on, as pairs of places."""
    found: list[Any] = [()]
    for b in range(j, len(target)):
        for a in range(i, len(source)):
            if source[a] == target[b]:
                found += [((b, a), *rest) for rest in all_pairings(source, target, a + 1, b + 1)]
    return found


@given(few, few)
def test_the_trace_is_the_longest_common_subsequence_that_ends_first(
    source: list[int], target: list[int]
) -> None:
    """Of all longest ones, by force: last pair at the earliest target token, then the earliest
    source token, and so on towards the beginning. The loops' oracle is the same.
    """
    pairings = all_pairings(source, target)
    longest = max(map(len, pairings))
    best = min((p for p in pairings if len(p) == longest), key=lambda p: p[::-1])
    expected = dict(best)
    got = trace_from_end(source, target)
    assert got == [expected.get(j) for j in range(len(target))]
    assert got == oracles.last_pairs_first(source, target)


@given(few, few)
def test_the_trace_pairs_equals_in_order(source: list[int], target: list[int]) -> None:
    pairs = [(i, j) for j, i in enumerate(trace_from_end(source, target)) if i is not None]
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(a < b for (a, _), (b, _) in pairwise(pairs))
    assert trace_from_end(source, source) == list(range(len(source)))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a", "aba", [0, None, None]),
        ("aba", "a", [0]),
        ("ab", "ba", [1, None]),
        ("abc", "axc", [0, None, 2]),
        ("aa", "a", [0]),
        ("", "ab", [None, None]),
        ("ab", "", []),
    ],
)
def test_the_trace_of_hand_examples(source: str, target: str, expected: list[int | None]) -> None:
    assert trace_from_end([*map(ord, source)], [*map(ord, target)]) == expected


PROMPTS = ["", "a dog", SOURCE, *TARGETS, LONG]


@pytest.mark.parametrize("source", PROMPTS, ids=lambda p: p[:12])
@pytest.mark.parametrize("target", PROMPTS, ids=lambda p: p[:12])
def test_rows_beyond_the_targets_words_map_to_themselves(
    editor: Editor, source: str, target: str
) -> None:
    """Whatever the source has there, the end of a longer prompt included; and begin maps to begin.
    Rows of the two CLIPs follow the first, T5's its own tokens.
    """
    a, b = map(editor.backbone.embed, (source, target))
    rows = method(NAME).row_map(a, b).source
    assert list(rows) == oracles.published_rows(a, b)
    first, _, third = b.segments
    for segment in (first, third):
        live = sum(kind != "pad" for kind in segment.kinds)
        for row in range(segment.start + live, segment.stop):
            assert rows[row] == row
    assert rows[0] == 0
    if source == target:
        assert list(rows) == list(range(b.length))


# Its controls


@pytest.mark.parametrize("skip", [0, 3, 8])
def test_skipped_steps_move_the_attention_window_alone(editor: Editor, skip: int) -> None:
    """Of ten steps, text 0.5 is on in 0…4 whatever is skipped; attention 0.3 in three from the
    first that is made. Neither is in the last block, and values are those of both streams.
    """
    how = method(NAME, steps=10, text_ratio=0.5, attention_ratio=0.3, skip_steps=skip)
    text, attention = how.controls(running(editor, inverted(editor), how), None)
    steps = [Step(k, 10, 0.5) for k in range(10)]
    sites = editor.backbone.sites()
    assert {site.block for site in sites} == {0, 1, 2}
    on = lambda control: {k for k in range(10) if any(control.wants(s, steps[k]) for s in sites)}
    assert on(text) == set(range(5))
    assert on(attention) == set(range(skip, min(10, skip + 3)))
    for control, wanted in ((text, {"text.modulated"}), (attention, {"image.v", "text.v"})):
        k = min(on(control))
        acted = {s.name for s in sites if control.wants(s, steps[k])}
        assert acted == {f"{block}.{name}" for block in (0, 1) for name in wanted}


def test_windows_are_rounded_as_published(one: Editor) -> None:
    """`int(N * ratio)`, binary fractions and all: 0.29 of 100 are 28 steps, 0.15 of 30 are 4."""
    sites = one.backbone.sites()
    for steps, ratio, count in ((100, 0.29, 28), (30, 0.15, 4), (7, 1.0, 7), (9, 0.0, 0)):
        how = method(NAME, steps=steps, text_ratio=ratio, attention_ratio=ratio)
        for control in how.controls(running(one, inverted(one), how), None):
            on = [
                k for k in range(steps) if any(control.wants(s, Step(k, steps, 0.5)) for s in sites)
            ]
            assert on == list(range(count))


# Its loops


def inverted(editor: Editor, **settings: Any) -> Inversion:
    return editor.invert(render(SCENE), SOURCE, NAME, steps=6, **settings)


@pytest.mark.parametrize(
    ("settings", "averaged", "text", "values"),
    [
        ({}, (0, 1, 2, 3), 6, range(0)),
        ({"iterations": 1, "guidance": 4.0}, (0, 1), 6, range(0)),
        ({"iterations": 7}, (0, 1, 2, 3, 4), 6, range(0)),
        ({"iterations": 0, "text_ratio": 0.5}, (0,), 3, range(0)),
        ({"iterations": 1, "attention_ratio": 0.34}, (0, 1), 6, range(2)),
        (
            {"iterations": 1, "skip_steps": 2, "attention_ratio": 0.34, "text_ratio": 0.7},
            (0, 1),
            4,
            range(2, 4),
        ),
        ({"iterations": 1, "invert_guidance": 2.0, "text_ratio": 0.0}, (0, 1), 0, range(0)),
    ],
    ids=str,
)
def test_the_reference_is_its_loops(
    editor: Editor, settings: dict[str, Any], averaged: tuple[int, ...], text: int, values: range
) -> None:
    """Stage I averages at most five evaluations and stops where the edit begins; the compensated
    source gives its features from its trajectory; every latent is the loops'.
    """
    inversion = inverted(editor, **settings)
    s, how = editor.backbone.grid(6, (64, 64)).sigmas, inversion.method
    n = how.skip_steps
    known = oracles.fixed_point(
        editor, inversion.image, s[n:], SOURCE, how.iterations, averaged, how.invert_guidance
    )
    assert inversion.trajectory.first == n and len(inversion.trajectory.latents) == 7 - n
    for k, expected in enumerate(known, n):
        assert distance(inversion.trajectory[k], expected) <= 1e-5
    if n:
        with pytest.raises(IndexError):
            inversion.trajectory[n - 1]
    passes = 1 if how.invert_guidance == 1 else 2
    assert inversion.forwards == (6 - n) * (how.iterations + 1) * passes

    rows = oracles.published_rows(*map(editor.backbone.embed, (SOURCE, TARGETS[0])))
    x = known[0]
    for k in range(n, 6):
        v = oracles.controlled(
            editor,
            x,
            known[k - n],
            s[k],
            (SOURCE, TARGETS[0]),
            rows,
            range(2) if k < text else (),
            range(2) if k in values else (),
            how.guidance,
        )
        x = x + (s[k + 1] - s[k]) * v
    got = editor.edit(inversion, TARGETS[0])
    assert distance(got.latent, x) <= 1e-5
    asked = len({*range(n, text), *values})
    assert got.forwards == 2 * (6 - n) + asked


def test_what_was_inverted_in_part_is_edited_from_there_alone(one: Editor) -> None:
    """Another number of skipped steps needs another inversion; FTEdit, which begins at any step of
    the whole, does not begin at a part. Reconstruction and storing work on the part.
    """
    inversion = inverted(one, skip_steps=2, iterations=1)
    for name, settings in ((None, {"skip_steps": 3}), (None, {"skip_steps": 0}), ("ftedit", {})):
        with pytest.raises(InputError, match="or invert again"):
            one.edit(inversion, TARGETS[0], name, **settings)
    again = one.reconstruct(inversion)
    assert again.latent_error <= 1e-5 and again.forwards == 4
    one.check(inversion)
    assert len(inversion.residuals) == 4


def test_a_part_is_stored_and_opened(one: Editor, tmp_path: Any) -> None:
    """With where it begins."""
    inversion = inverted(one, skip_steps=2, iterations=1)
    one.save(inversion, tmp_path / "a.safetensors")
    opened = one.open(tmp_path / "a.safetensors")
    assert opened.trajectory.first == 2 and opened.method == inversion.method
    a, b = (one.edit(each, TARGETS[0]).latent for each in (inversion, opened))
    assert torch.equal(a, b)


def test_skipping_every_step_is_refused() -> None:
    with pytest.raises(InputError, match="leaves none of the 6 steps"):
        method(NAME, steps=6, skip_steps=6)
