"""Draws labelled grids of pictures and marks the words that an edit changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, MARK = (255, 255, 255), (32, 32, 40), (110, 110, 120), (190, 30, 45)


@dataclass(frozen=True)
class Cell:
    """A picture, the text under it, and the character spans of the text that are marked."""

    picture: Image.Image
    text: str
    marked: Sequence[tuple[int, int]] = ()
    title: str = ""
    """Drawn above the text; empty for none."""


def sheet(cells: Sequence[Cell], columns: int, width: int = 224) -> Image.Image:
    """Draw cells row by row, each `width` pixels wide; pictures keep their aspect ratio.

    Returns an RGB image. Raises ValueError when there is no cell.
    """
    if not cells:
        raise ValueError("a sheet needs a cell or more")
    gap, line = 12, 17
    lines = [_wrap(cell, width) for cell in cells]
    heights = [round(width * c.picture.height / c.picture.width) for c in cells]
    rows = [range(i, min(i + columns, len(cells))) for i in range(0, len(cells), columns)]
    picture_heights = [max(heights[i] for i in row) for row in rows]
    text_heights = [max(len(lines[i]) + bool(cells[i].title) for i in row) * line for row in rows]
    total = gap + sum(picture_heights) + sum(text_heights) + 2 * gap * len(rows)
    out = Image.new("RGB", (gap + columns * (width + gap), total), PAPER)
    draw = ImageDraw.Draw(out)
    top = gap
    for row, high, below in zip(rows, picture_heights, text_heights, strict=True):
        for column, i in enumerate(row):
            left = gap + column * (width + gap)
            scaled = cells[i].picture.resize((width, heights[i]), Image.Resampling.LANCZOS)
            out.paste(scaled, (left, top))
            y = top + high + 4
            if cells[i].title:
                draw.text((left, y), cells[i].title, FAINT, _font())
                y += line
            for words in lines[i]:
                _write(draw, left, y, words)
                y += line
        top += high + below + 2 * gap
    return out


Word = tuple[str, bool]
"""A word, and whether it is marked."""


def _wrap(cell: Cell, width: int) -> list[list[Word]]:
    """Break the text into lines of at most `width` pixels; a longer word has its own line."""
    lines: list[list[Word]] = [[]]
    at = 0
    for word in cell.text.split():
        at = cell.text.index(word, at)
        marked = any(start < at + len(word) and at < stop for start, stop in cell.marked)
        at += len(word)
        line = " ".join([w for w, _ in lines[-1]] + [word])
        if lines[-1] and _font().getlength(line) > width:
            lines.append([])
        lines[-1].append((word, marked))
    return lines


def _write(draw: ImageDraw.ImageDraw, x: float, y: float, words: list[Word]) -> None:
    for word, marked in words:
        draw.text((x, y), word, MARK if marked else INK, _font())
        length = _font().getlength(word)
        if marked:
            draw.line([(x, y + 14), (x + length, y + 14)], MARK)
        x += length + _font().getlength(" ")


@cache
def _font() -> Any:
    return ImageFont.load_default(13)
