"""Grids of pictures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from counterflow.sheet import MARK, Cell, sheet

quick = settings(max_examples=40, deadline=None)


@quick
@given(st.integers(1, 9), st.integers(1, 4), st.text("ab ", max_size=60))
def test_sheets_hold_every_cell(count: int, columns: int, text: str) -> None:
    """Every picture is there, whatever the shapes and texts."""
    colors = [(10 * i + 5, 200, 90) for i in range(count)]
    cells = [Cell(Image.new("RGB", (8 + i, 9), c), text) for i, c in enumerate(colors)]
    drawn = {color for _, color in sheet(cells, columns, 40).getcolors(1 << 20)}  # type: ignore[union-attr]
    assert set(colors) <= drawn


def test_sheets_mark_words() -> None:
    """Marked words are drawn in the marking colour, others not."""
    picture = Image.new("RGB", (40, 40))

    def marks(*spans: tuple[int, int]) -> int:
        drawn = sheet([Cell(picture, "a blue cat", spans)], 1).getcolors(1 << 20)
        return {color: n for n, color in drawn}.get(MARK, 0)  # type: ignore[union-attr]

    assert marks() == 0 < marks((2, 6)) < marks((2, 6), (7, 10))
    with pytest.raises(ValueError, match="cell"):
        sheet([], 1)
