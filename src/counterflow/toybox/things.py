"""Draws what stands beside the creature: a sign with a letter, and one to three things."""

from __future__ import annotations

from counterflow.toybox.board import PAINT, WHITE, Board, Color, Jitter, Point
from counterflow.toybox.scene import Scene

STROKES: dict[str, list[list[Point]]] = {
    "E": [[(1, 0), (0, 0), (0, 1), (1, 1)], [(0, 0.5), (0.8, 0.5)]],
    "H": [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(0, 0.5), (1, 0.5)]],
    "L": [[(0, 0), (0, 1), (1, 1)]],
    "O": [
        [(0.25, 0), (0.75, 0), (1, 0.25), (1, 0.75), (0.75, 1)],
        [(0.75, 1), (0.25, 1), (0, 0.75), (0, 0.25), (0.25, 0)],
    ],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)]],
    "X": [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
}  # fmt: skip
"""Each letter as polylines in a unit square, y down."""

STAR = [(0, -1), (0.26, -0.36), (0.95, -0.31), (0.42, 0.14), (0.59, 0.81), (0, 0.44)]
DOME = [(-1, 0.1), (-0.92, -0.35), (-0.6, -0.75), (0, -0.95)]
PETALS = ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31))


def draw_sign(b: Board, letter: str, j: Jitter) -> None:
    """Draw a sign with one letter, on a post at the left."""
    x, y = 20 + j("sign x", -2, 3), 66 + j("sign y", -4, 4)
    half = 15.5
    b.limb([(x, y + half), (x, y + 48)], b.paint((120, 76, 44)), 4)
    b.rectangle(x - half, y - half, x + half, y + half, b.style.paper, 2)
    for stroke in STROKES[letter]:
        b.stroke([(x - 7.5 + 15 * u, y - 9 + 18 * v) for u, v in stroke], 3.8)


def draw_things(b: Board, scene: Scene, j: Jitter) -> None:
    """Draw one to three equal things, one above the other, at the right."""
    paint = b.paint(PAINT[scene.thing_color])
    x0, y0 = 108 + j("thing x", -2, 3), 113 + j("thing y", -2, 2)
    for i in range(scene.count):
        THINGS[scene.thing](b, x0 + j(f"thing{i}", -1.5, 1.5), y0 - 25 * i, 10.4, paint)


def _apple(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    b.line([(x, y - r + 2), (x + 2, y - r - 2)], b.paint((96, 60, 30)), 2.4)
    b.ellipse(x - 2.8, y, r * 0.8, r * 0.92, paint)
    b.ellipse(x + 2.8, y, r * 0.8, r * 0.92, paint)
    b.ellipse(x, y, r * 0.8, r * 0.8, paint, 0)
    b.ellipse(x + 6, y - r, 3.8, 2.2, b.paint((80, 170, 70)), 0.8)


def _ball(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    b.ellipse(x, y, r, r, paint)
    b.rectangle(x - r + 1.4, y - 2.4, x + r - 1.4, y + 2.4, b.paint(WHITE), 0)


def _star(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    outline = STAR + [(-u, v) for u, v in STAR[-2:0:-1]]
    b.polygon([(x + 1.15 * r * u, y + 1.15 * r * v) for u, v in outline], paint)


def _cup(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    b.limb([(x + 6, y - 4), (x + 11, y - 3), (x + 11, y + 2), (x + 5, y + 4)], paint, 3.2)
    b.polygon([(x - 9, y - 9), (x + 7, y - 9), (x + 5, y + 9), (x - 7, y + 9)], paint)
    b.rectangle(x - 8, y - 8.4, x + 6, y - 5.4, b.paint(WHITE), 0)


def _flower(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    for u, v in PETALS:
        b.ellipse(x + 0.6 * r * u, y + 0.6 * r * v, 0.46 * r, 0.46 * r, paint)
    b.ellipse(x, y, 0.36 * r, 0.36 * r, b.paint(WHITE), 1)


def _mushroom(b: Board, x: float, y: float, r: float, paint: Color) -> None:
    b.rectangle(x - 3.6, y, x + 3.6, y + 9, b.paint((246, 232, 206)))
    dome = DOME + [(-u, v) for u, v in DOME[-2::-1]]
    b.polygon([(x + r * u, y + r * v) for u, v in dome], paint)
    for u, v in ((-0.5, -0.25), (0.1, -0.55), (0.5, -0.15)):
        b.ellipse(x + r * u, y + r * v, 1.9, 1.9, b.paint(WHITE), 0)


THINGS = {
    "apple": _apple,
    "ball": _ball,
    "star": _star,
    "cup": _cup,
    "flower": _flower,
    "mushroom": _mushroom,
}
