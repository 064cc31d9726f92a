"""One HTML page that needs nothing else: no script, no other file, no network.

A page is sections; a section has a verdict, words, a plot, a table and pictures, in this order,
each where there is one. Whatever is given as text is escaped; only a plot, an SVG of
`plots.svg`, is not.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from counterflow.bench import figures
from counterflow.bench.figures import Better
from counterflow.bench.stats import Interval

Cell = str | int | float | None | Interval
Row = Sequence[Cell]
Spans = Sequence[tuple[int, int]]

SIDE = 256
"""Pixels of a picture's longer side on a page."""
QUALITY = 90


@dataclass(frozen=True)
class Column:
    """A table's column and what is to be said of it beneath."""

    name: str
    meaning: str = ""
    better: Better | None = None
    digits: int = 2
    signed: bool = False
    """Whether numbers are differences: they get a sign, and are bold where they exclude zero."""

    @classmethod
    def of(
        cls,
        figure: str,
        name: str = "",
        meaning: str | None = None,
        digits: int | None = None,
        signed: bool = False,
    ) -> Column:
        """A figure's column, as `FIGURES` declares it; but for what is given."""
        declared = figures.FIGURES[figure]
        return cls(
            name or figures.label(figure),
            declared.meaning if meaning is None else meaning,
            declared.better,
            declared.digits if digits is None else digits,
            signed,
        )

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first of each row names it."""

    header: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Verdict:
    """A claim, whether these numbers bear it out (None: they decide nothing), and why."""

    claim: str
    holds: bool | None
    sentence: str

    @property
    def word(self) -> str:
        """The badge's word."""
        return {True: "holds", False: "does not hold", None: "undecided"}[self.holds]


@dataclass(frozen=True)
class Picture:
    """A picture with what stands under it; no image shows as an empty frame."""

    image: Image.Image | None
    title: str
    good: bool | None = None
    """Drawn as a tick or a cross beside the title."""
    lines: Sequence[str] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the page, in pixels."""
        width, height = self.image.size if self.image else (1, 1)
        scale = SIDE / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    @property
    def uri(self) -> str:
        """The picture as a data URI: PNG or JPEG, whichever is shorter."""
        if self.image is None:
            return ""
        image = self.image.convert("RGB")
        if max(image.size) > SIDE:
            image = image.resize(self.size, Image.Resampling.LANCZOS)
        coded = [("png", _encoded(image, "PNG")), ("jpeg", _encoded(image, "JPEG"))]
        kind, data = min(coded, key=lambda one: len(one[1]))
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, under sentences of which some words are marked."""

    title: str
    sentences: Sequence[tuple[str, str, Spans]]
    """A label, the sentence, and the character spans that are marked."""
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """A part of a page under its own heading."""

    title: str
    text: str = ""
    """Paragraphs, parted by empty lines."""
    table: Table | None = None
    plot: str | None = None
    """An SVG from `plots.svg`; it is not escaped."""
    verdict: Verdict | None = None
    pictures: Sequence[Strip] = ()


@dataclass(frozen=True)
class Page:
    """A page: heading, opening paragraphs, facts as name and value, sections."""

    title: str
    intro: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = ()

    def html(self) -> str:
        """The whole page; equal pages give equal text."""
        return _environment().get_template("page.html").render(page=self)


@dataclass(frozen=True)
class CellText:
    """A cell as it is read: `0.85`, `[0.80, 0.90]`, `2 n/a`."""

    main: str
    bounds: str = ""
    note: str = ""
    sure: bool = False


def cell_text(cell: Cell, column: Column) -> CellText:
    """How a column shows a cell. An interval without width is not shown."""
    if isinstance(cell, str):
        return CellText(cell)
    if not isinstance(cell, Interval):
        return CellText(_number(cell, column))
    counts = ((cell.missing, "n/a"), (cell.exact, "exact"))
    note = ", ".join(f"{count} {what}" for count, what in counts if count)
    bounds = ""
    if cell.low is not None and cell.low != cell.high:
        bounds = f"[{_number(cell.low, column)}, {_number(cell.high, column)}]"
    if cell.estimate is None:
        return CellText("n/a", note=f"{cell.exact} exact" if cell.exact else "")
    return CellText(
        _number(cell.estimate, column), bounds, note, column.signed and cell.excludes_zero
    )


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return "n/a"
    if math.isinf(value):
        return "∞"
    digits = 0 if isinstance(value, int) else column.digits
    text = f"{value:{'+' if column.signed else ''},.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # a rounded zero has no sign
    return text.replace("-", "−").replace(",", "\u2009")


def pieces(text: str, spans: Spans) -> list[tuple[str, bool]]:
    """A sentence cut at its spans, each piece with whether it is marked; neighbours as one."""
    marked = [any(start <= i < stop for start, stop in spans) for i in range(len(text))]
    for i in range(1, len(text) - 1):  # a space between two marked words
        marked[i] = marked[i] or (text[i] == " " and marked[i - 1] and marked[i + 1])
    cuts: list[tuple[str, bool]] = []
    for letter, mark in zip(text, marked, strict=True):
        if cuts and cuts[-1][1] == mark:
            cuts[-1] = (cuts[-1][0] + letter, mark)
        else:
            cuts.append((letter, mark))
    return cuts


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text."""
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": QUALITY} if kind == "JPEG" else {}
    image.save(buffer, kind, optimize=True, **options)
    return buffer.getvalue()


def _environment() -> Environment:
    folder = files("counterflow.bench.report") / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tools = {"cell_text": cell_text, "pieces": pieces, "paragraphs": paragraphs, "markup": Markup}
    environment.globals.update(tools)
    return environment
