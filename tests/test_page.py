"""Pages and plots: how cells, sentences, pictures and intervals are shown."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from counterflow.bench.report import plots
from counterflow.bench.report.page import (
    Cell,
    Column,
    Page,
    Picture,
    Section,
    Verdict,
    cell_text,
    pieces,
)
from counterflow.bench.stats import Interval
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample


@pytest.mark.parametrize(
    ("cell", "column", "text"),
    [
        ("words", Column("a"), "words"),
        (None, Column("a"), "n/a"),
        (12345, Column("a"), "12\u2009345"),
        (0.856, Column("a"), "0.86"),
        (-0.856, Column("a", digits=1), "−0.9"),
        (math.inf, Column("a"), "∞"),
        (0.2, Column("a", signed=True), "+0.20"),
        (-0.001, Column("a"), "0.00"),
        (Interval(0.85, 0.8, 0.9, 50, 0), Column("a"), "0.85 [0.80, 0.90]"),
        (Interval(0.85, 0.8, 0.9, 50, 2, 3), Column("a"), "0.85 [0.80, 0.90] 2 n/a, 3 exact"),
        (Interval(1.0, 1.0, 1.0, 50, 0), Column("a"), "1.00"),
        (Interval(1.0, None, None, 1, 4), Column("a"), "1.00 4 n/a"),
        (Interval(None, None, None, 0, 5), Column("a"), "n/a"),
        (Interval(None, None, None, 0, 5, 2), Column("a"), "n/a 2 exact"),
    ],
)
def test_how_a_cell_reads(cell: Cell, column: Column, text: str) -> None:
    it = cell_text(cell, column)
    assert " ".join(filter(None, (it.main, it.bounds, it.note))) == text


def test_only_a_sure_difference_is_bold() -> None:
    sure, unsure = Interval(0.2, 0.1, 0.3, 9, 0), Interval(0.2, -0.1, 0.3, 9, 0)
    signed = Column("a", signed=True)
    assert cell_text(sure, signed).sure
    assert not cell_text(unsure, signed).sure and not cell_text(sure, Column("a")).sure


@given(st.text("ab ", max_size=12), st.lists(st.tuples(*[st.integers(0, 13)] * 2), max_size=3))
def test_pieces_are_the_sentence(text: str, spans: list[tuple[int, int]]) -> None:
    made = pieces(text, spans)
    assert "".join(words for words, _ in made) == text
    assert all(a[1] != b[1] for a, b in pairwise(made))
    letters = [mark for words, mark in made for _ in words]
    for i, letter in enumerate(text):
        if letter != " ":
            assert letters[i] == any(start <= i < stop for start, stop in spans)


def test_neighbouring_marks_are_one() -> None:
    made = pieces("in a red hat", [(3, 4), (5, 8)])
    assert made == [("in ", False), ("a red", True), (" hat", False)]


@pytest.mark.parametrize(
    ("holds", "badge"), [(True, "✓ holds"), (False, "✗ does not hold"), (None, "? undecided")]
)
def test_a_verdict_is_a_badge(holds: bool | None, badge: str) -> None:
    verdict = Verdict("Cats < dogs", holds, "They are.")
    text = Page("A page", "Words.", [Section("One", verdict=verdict)]).html()
    assert [found.strip() for found in re.findall(r'class="badge">([^<]+)<', text)] == [badge]
    assert "Cats &lt; dogs" in text


@pytest.mark.parametrize("side", [64, 128, 600])
def test_a_picture_travels_inside_the_page(side: int) -> None:
    image = render(sample(3), side)
    picture = Picture(image, "one")
    decoded = Image.open(BytesIO(b64decode(picture.uri.partition(",")[2])))
    assert picture.size == (256, 256) and decoded.size == (min(side, 256),) * 2
    difference = np.asarray(decoded, float) - np.asarray(image.resize(decoded.size), float)
    assert np.abs(difference).mean() < 4


def test_plots_are_sound_svg_whatever_the_names() -> None:
    known, none = Interval(0.5, 0.4, 0.7, 9, 0), Interval(None, None, None, 0, 9)
    one = Interval(0.5, None, None, 1, 0)
    odd = ("$x_", "<b>&", "猫", "a\nb")
    values = [known, none, one, known]
    points = [plots.Point(name, known, value) for name, value in zip(odd, values, strict=True)]
    with pytest.warns(UserWarning, match="Glyph"):  # the plots' font has no Chinese
        drawn = [
            plots.scatter(points, "x", "<y>"),
            plots.bars(odd, [(name, values) for name in odd], "share", 1.0),
            plots.rows(odd, values, "forwards"),
        ]
    for text in drawn:
        assert "nan" not in text.lower() and plots.INK not in text
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg") and "currentColor" in text
        assert not {"Date", "metadata"} & {e.tag.rpartition("}")[2] for e in root.iter()}


def test_an_interval_is_drawn_where_it_lies() -> None:
    """The longer interval makes the longer line."""
    short, long = Interval(0.5, 0.49, 0.51, 9, 0), Interval(0.5, 0.1, 0.9, 9, 0)

    def tallest(interval: Interval) -> float:
        text = plots.bars(["a"], [("one", [interval])], "share", 1.0)
        group = text[text.index("LineCollection") :]
        ends = re.search(r'd="M [\d.]+ ([\d.]+) ?\n?L [\d.]+ ([\d.]+)', group)
        assert ends is not None
        return abs(float(ends[1]) - float(ends[2]))

    assert tallest(long) > 20 * tallest(short) > 0
