"""A canvas of plain shapes: 128×128 board coordinates, supersampled, whole-pixel vertices.

x runs to the right and y down. The board is drawn `SUPERSAMPLING` times as large with every vertex
rounded to a whole pixel, and then averaged. No font decides a pixel; that machines agree on the
rest (Pillow's lines and arcs) is checked by a digest in the tests.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

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


class Jitter:
    """Named continuous draws of one seed: a name's value never depends on the other draws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, name: str, low: float, high: float) -> float:
        return random.Random(f"{self.seed} {name}").uniform(low, high)


class Board:
    """A canvas in board coordinates; shapes have an ink outline unless told otherwise."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size * SUPERSAMPLING / BOARD
        side = size * SUPERSAMPLING
        self.canvas = Image.new("RGB", (side, side), WHITE)
        self.draw = ImageDraw.Draw(self.canvas)

    def image(self) -> Image.Image:
        return self.canvas.reduce(SUPERSAMPLING)

    def _px(self, value: float) -> int:
        return int(value * self.scale + 0.5) if value >= 0 else -int(-value * self.scale + 0.5)

    def _points(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        return [(self._px(x), self._px(y)) for x, y in points]

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color, ink: float = 1.4
    ) -> None:
        if ink:
            self._ellipse(x, y, rx + ink / 2, ry + ink / 2, INK)
        self._ellipse(x, y, rx - ink / 2, ry - ink / 2, fill)

    def _ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color) -> None:
        box = (self._px(x - rx), self._px(y - ry), self._px(x + rx), self._px(y + ry))
        self.draw.ellipse(box, fill=fill)

    def polygon(self, points: Sequence[Point], fill: Color, ink: float = 1.4) -> None:
        self.draw.polygon(self._points(points), fill=fill)
        if ink:
            self.line([*points, points[0]], INK, ink)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color, ink: float = 1.4
    ) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, ink)

    def line(self, points: Sequence[Point], fill: Color, width: float) -> None:
        """A polyline with round ends and joints."""
        pixels = max(1, self._px(width))
        self.draw.line(self._points(points), fill=fill, width=pixels)
        for x, y in points:
            self._ellipse(x, y, width / 2, width / 2, fill)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: int, end: int, width: float
    ) -> None:
        box = (self._px(x - rx), self._px(y - ry), self._px(x + rx), self._px(y + ry))
        self.draw.arc(box, start, end, fill=INK, width=max(1, self._px(width)))


def mix(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue
