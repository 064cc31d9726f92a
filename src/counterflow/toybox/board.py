"""A canvas for simple shapes, in board coordinates of 128×128: x runs to the right and y down.

The board is drawn `SUPERSAMPLING` times as large, with every vertex rounded to a whole pixel, and
then averaged. Letters are drawn as lines, so no font changes a pixel. A digest in the tests checks
that Pillow draws the same lines and arcs on every machine. A `Style` decides how the same shapes
are drawn: their outlines, the strength of their paint, and the size of their pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

BOARD = 128
SUPERSAMPLING = 4

Color = tuple[int, int, int]
Point = tuple[float, float]

PAINT: dict[str, Color] = {
    "red": (214, 48, 49),
    "orange": (244, 140, 40),
    "yellow": (250, 214, 60),
    "green": (60, 168, 80),
    "blue": (52, 104, 214),
    "purple": (134, 68, 176),
    "pink": (246, 140, 184),
    "gray": (150, 154, 160),
}
INK: Color = (34, 30, 44)
WHITE: Color = (252, 252, 250)
SLATE: Color = (40, 48, 50)
CHALK: Color = (238, 238, 226)


def mix(a: Color, b: Color, fraction: float) -> Color:
    """Interpolate between two colours: `a` at `fraction` 0, `b` at 1."""
    red, green, blue = (round(p + (q - p) * fraction) for p, q in zip(a, b, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Style:
    """How shapes are drawn. In every style, all values of a scene's fields look different."""

    line: Color = INK
    """Colour of outlines without tint, of mouths, whiskers and letters."""
    paper: Color = WHITE
    """Colour of the board of a sign."""
    ground: Color = WHITE
    """Colour of the paper or board under the paint."""
    fade: float = 0.0
    """Fraction of `ground` in the paint of the creature, the things and the sign's post, 0..1."""
    wash: float = 0.0
    """Fraction of `ground` in the paint of the scenery, 0..1."""
    tint: float = 0.0
    """Fraction of the shape's own paint in its outline, 0..1."""
    outline: float = 1.0
    """Factor on the width of outlines."""
    scenery: float = 0.0
    """Width of the scenery's outlines in board units; 0 draws none."""
    detail: float = 1.0
    """Factor on the width of mouths, lids and letters."""
    features: float = 1.0
    """Factor on the size of eyes and mouths."""
    cells: int = 0
    """Number of coarse pixels on a side; 0 keeps the picture's own pixels."""


DRAWING_STYLES = {
    "flat": Style(tint=0.62),
    "ink": Style(wash=0.72, outline=1.9, scenery=1.8, detail=1.15),
    "pixel": Style(tint=0.5, outline=2.0, detail=1.45, features=1.3, cells=43),
    "chalk": Style(
        line=CHALK, paper=SLATE, ground=SLATE, fade=0.3, wash=0.74, outline=1.3, scenery=1.4
    ),
}
"""By the name of a scene's style."""


class Jitter:
    """Random numbers of one seed, by name: a number does not depend on which others are drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, name: str, low: float, high: float) -> float:
        """The number called `name`, uniform in `low`..`high`."""
        return random.Random(f"{self.seed} {name}").uniform(low, high)


class Board:
    """A canvas in board coordinates. `outline` is an outline's width, 0 for none."""

    def __init__(self, size: int, style: Style) -> None:
        self.size = size
        self.style = style
        self.scale = size * SUPERSAMPLING / BOARD
        side = size * SUPERSAMPLING
        self.canvas = Image.new("RGB", (side, side), WHITE)
        self.draw = ImageDraw.Draw(self.canvas)

    def image(self) -> Image.Image:
        """The drawn picture, RGB, `size`×`size` pixels."""
        if not self.style.cells:
            return self.canvas.reduce(SUPERSAMPLING)
        coarse = self.canvas.resize((self.style.cells,) * 2, Image.Resampling.NEAREST)
        return coarse.resize((self.size,) * 2, Image.Resampling.NEAREST)

    def paint(self, color: Color) -> Color:
        """A colour as this style paints it on the creature, the things and the sign's post."""
        return mix(color, self.style.ground, self.style.fade)

    def wash(self, color: Color) -> Color:
        """A colour as this style paints it on the scenery."""
        return mix(color, self.style.ground, self.style.wash)

    def wash_line(self, color: Color) -> Color:
        """The colour of a line on the scenery: the style's own if it outlines the scenery."""
        return self.style.line if self.style.scenery else color

    def _px(self, value: float) -> int:
        return int(value * self.scale + 0.5) if value >= 0 else -int(-value * self.scale + 0.5)

    def _points(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        return [(self._px(x), self._px(y)) for x, y in points]

    def _outline(self, fill: Color) -> Color:
        dark = mix(self.style.line, fill, self.style.tint)
        return mix(dark, INK, 0.25 * bool(self.style.tint))

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color, outline: float = 1.4
    ) -> None:
        """An ellipse around (x, y) with the radii `rx` and `ry`."""
        if outline:
            outline *= self.style.outline
            self._ellipse(x, y, rx + outline / 2, ry + outline / 2, self._outline(fill))
        self._ellipse(x, y, rx - outline / 2, ry - outline / 2, fill)

    def _ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color) -> None:
        box = (self._px(x - rx), self._px(y - ry), self._px(x + rx), self._px(y + ry))
        self.draw.ellipse(box, fill=fill)

    def polygon(self, points: Sequence[Point], fill: Color, outline: float = 1.4) -> None:
        """A filled polygon."""
        self.draw.polygon(self._points(points), fill=fill)
        if outline:
            self.line([*points, points[0]], self._outline(fill), outline * self.style.outline)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color, outline: float = 1.4
    ) -> None:
        """A filled rectangle from (x0, y0) to (x1, y1)."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, outline)

    def line(self, points: Sequence[Point], fill: Color, width: float) -> None:
        """A polyline with round ends and joints."""
        pixels = max(1, self._px(width))
        self.draw.line(self._points(points), fill=fill, width=pixels)
        for x, y in points:
            self._ellipse(x, y, width / 2, width / 2, fill)

    def limb(
        self, points: Sequence[Point], fill: Color, width: float, outline: float = 1.4
    ) -> None:
        """A polyline with an outline."""
        self.line(points, self._outline(fill), width + outline * self.style.outline)
        self.line(points, fill, width - outline * self.style.outline / 2)

    def stroke(self, points: Sequence[Point], width: float) -> None:
        """A polyline in the style's line colour."""
        self.line(points, self.style.line, width * self.style.detail)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: int, end: int, width: float
    ) -> None:
        """A part of an ellipse's outline in the style's line colour.

        `start` and `end` are in degrees, clockwise from the right.
        """
        box = (self._px(x - rx), self._px(y - ry), self._px(x + rx), self._px(y + ry))
        pixels = max(1, self._px(width * self.style.detail))
        self.draw.arc(box, start, end, fill=self.style.line, width=pixels)
