"""Draws the places that a creature can be in."""

from __future__ import annotations

from counterflow.toybox.board import WHITE, Board, Color, Jitter


def draw_background(b: Board, name: str, j: Jitter) -> None:
    """Fill the board with the place called `name`."""
    horizon = 88 + j("horizon", -5, 5)
    shift = j("scenery", -10, 10)
    PLACES[name](b, j, horizon, shift)


def _sky(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, 128, (120, 190, 246))
    for i, (x, y) in enumerate([(22, 26), (106, 44), (30, 104), (94, 112)]):
        _cloud(b, x + shift, y + j(f"cloud{i}", -5, 5))


def _night(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, horizon, (36, 40, 92))
    _area(b, horizon, 128, (64, 58, 104))
    _dot(b, 104 + shift / 2, 22, 10, (250, 240, 190))
    for i, (x, y) in enumerate([(14, 14), (36, 30), (82, 12), (10, 46), (118, 58), (90, 44)]):
        b.ellipse(x + shift / 2, y + j(f"star{i}", -4, 4), 2, 2, (250, 244, 210), 0)


def _grass(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, horizon, (206, 232, 250))
    _area(b, horizon, 128, (132, 204, 92))
    for i in range(7):
        left, top = 5 + 19 * i + shift / 2, horizon + 5 + 12 * (i % 3)
        b.line([(left, top), (left + 3, top + 5), (left + 6, top)], b.wash_line((70, 148, 54)), 1.8)


def _beach(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, horizon - 22, (176, 224, 250))
    _area(b, horizon - 22, horizon, (44, 140, 190))
    _area(b, horizon, 128, (242, 220, 160))
    _dot(b, 20 + shift / 2, 18, 10, (255, 226, 110))


def _snow(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, horizon, (166, 182, 206))
    _area(b, horizon, 128, (246, 248, 252))
    for i in range(12):
        x, y = (11 + 23 * i) % 128, (9 + 37 * i) % 84
        _dot(b, x + shift / 2, y + j(f"flake{i}", -3, 3), 2.4, WHITE)


def _room(b: Board, j: Jitter, horizon: float, shift: float) -> None:
    _area(b, 0, horizon, (232, 196, 160))
    _area(b, horizon, 128, (158, 104, 62))
    for board in (horizon + 12, horizon + 26):
        b.line([(0, board), (128, board)], b.wash_line((128, 80, 46)), 1.6)
    pane = 102 + shift / 2
    b.rectangle(pane - 14, 14, pane + 14, 46, b.wash((176, 224, 250)), 2)
    bars = b.wash_line((110, 76, 60))
    b.line([(pane, 14), (pane, 46)], bars, 1.8)
    b.line([(pane - 14, 30), (pane + 14, 30)], bars, 1.8)


PLACES = {
    "sky": _sky,
    "night": _night,
    "grass": _grass,
    "beach": _beach,
    "snow": _snow,
    "room": _room,
}


def _area(b: Board, top: float, bottom: float, color: Color) -> None:
    b.rectangle(0, top, 128, bottom, b.wash(color), 0)
    if b.style.scenery and top > 0:
        b.line([(0, top), (128, top)], b.style.line, b.style.scenery)


def _dot(b: Board, x: float, y: float, r: float, color: Color) -> None:
    if b.style.scenery:
        b.ellipse(x, y, r + 0.6, r + 0.6, b.style.line, 0)
        r -= 0.6
    b.ellipse(x, y, r, r, b.wash(color), 0)


def _cloud(b: Board, x: float, y: float) -> None:
    puffs = ((-9, 2, 6), (0, -2, 8), (9, 2, 6), (0, 4, 7))
    if b.style.scenery:
        for dx, dy, r in puffs:
            b.ellipse(x + dx, y + dy, r + 2.2, r + 1.2, b.style.line, 0)
    for dx, dy, r in puffs:
        b.ellipse(x + dx, y + dy, r + 1, r, b.wash(WHITE), 0)
