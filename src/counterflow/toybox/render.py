"""Draws a `Scene`: the same pixels for the same scene, at any size."""

from __future__ import annotations

from PIL import Image

from counterflow.toybox.board import BOARD, INK, PAINT, WHITE, Board, Color, Jitter, Point, mix
from counterflow.toybox.scene import Scene

# Each letter as polylines in a unit square, y down.
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


def render(scene: Scene, size: int = BOARD) -> Image.Image:
    """Draw a scene as an RGB image of `size`×`size` pixels."""
    board = Board(size)
    jitter = Jitter(scene.seed)
    _background(board, scene.background, jitter)
    if scene.letter != "none":
        _sign(board, scene.letter, jitter)
    _creature(board, scene, jitter)
    if scene.thing != "none":
        _things(board, scene, jitter)
    return board.image()


def _background(b: Board, name: str, j: Jitter) -> None:
    horizon = 88 + j("horizon", -5, 5)
    shift = j("scenery", -10, 10)
    if name == "sky":
        b.rectangle(0, 0, 128, 128, (120, 190, 246), 0)
        for i, (x, y) in enumerate([(22, 26), (106, 44), (30, 104), (94, 112)]):
            _cloud(b, x + shift, y + j(f"cloud{i}", -5, 5))
    elif name == "night":
        b.rectangle(0, 0, 128, horizon, (36, 40, 92), 0)
        b.rectangle(0, horizon, 128, 128, (64, 58, 104), 0)
        b.ellipse(104 + shift / 2, 22, 9, 9, (250, 240, 190), 0)
        for i, (x, y) in enumerate([(14, 14), (36, 30), (82, 12), (10, 52), (116, 58), (90, 44)]):
            b.ellipse(x + shift / 2, y + j(f"star{i}", -4, 4), 1.6, 1.6, (250, 244, 210), 0)
    elif name == "grass":
        b.rectangle(0, 0, 128, horizon, (206, 232, 250), 0)
        b.rectangle(0, horizon, 128, 128, (132, 204, 92), 0)
        for i in range(7):
            left, top = 5 + 19 * i + shift / 2, horizon + 5 + 12 * (i % 3)
            blades = [(left, top), (left + 3, top + 5), (left + 6, top)]
            b.line(blades, (70, 148, 54), 1.6)
    elif name == "beach":
        b.rectangle(0, 0, 128, horizon - 22, (170, 220, 250), 0)
        b.rectangle(0, horizon - 22, 128, horizon, (44, 140, 190), 0)
        b.rectangle(0, horizon, 128, 128, (242, 220, 160), 0)
        b.ellipse(20 + shift / 2, 18, 10, 10, (255, 226, 110), 0)
    elif name == "snow":
        b.rectangle(0, 0, 128, horizon, (172, 188, 208), 0)
        b.rectangle(0, horizon, 128, 128, (246, 248, 252), 0)
        for i in range(12):
            x, y = (11 + 23 * i) % 128, (9 + 37 * i) % 84
            b.ellipse(x + shift / 2, y + j(f"flake{i}", -3, 3), 2, 2, WHITE, 0)
    elif name == "room":
        b.rectangle(0, 0, 128, horizon, (232, 196, 160), 0)
        b.rectangle(0, horizon, 128, 128, (158, 104, 62), 0)
        for board in (horizon + 12, horizon + 26):
            b.line([(0, board), (128, board)], (128, 80, 46), 1.4)
        pane = 102 + shift / 2
        b.rectangle(pane - 14, 14, pane + 14, 46, (176, 224, 250), 2.4)
        b.line([(pane, 14), (pane, 46)], INK, 1.6)
        b.line([(pane - 14, 30), (pane + 14, 30)], INK, 1.6)


def _cloud(b: Board, x: float, y: float) -> None:
    for dx, dy, r in ((-9, 2, 6), (0, -2, 8), (9, 2, 6), (0, 4, 7)):
        b.ellipse(x + dx, y + dy, r + 1, r, WHITE, 0)


def _sign(b: Board, letter: str, j: Jitter) -> None:
    x, y = 20 + j("sign x", -2, 3), 66 + j("sign y", -4, 4)
    half = 14.5
    b.line([(x, y + half), (x, y + 48)], (120, 76, 44), 4)
    b.rectangle(x - half, y - half, x + half, y + half, WHITE, 2)
    for stroke in STROKES[letter]:
        b.line([(x - 7 + 14 * u, y - 8.5 + 17 * v) for u, v in stroke], INK, 3.6)


def _creature(b: Board, scene: Scene, j: Jitter) -> None:
    paint = PAINT[scene.color]
    light = mix(paint, WHITE, 0.55)
    x = 62 + j("creature x", -3.5, 3.5)
    r = 19.5 + j("head", -1.5, 1.5)
    sit = scene.posture == "sitting"
    y = (60 if sit else 48) + j("creature y", -2.5, 2.5)
    wide = 14 + j("body", -1.5, 2)
    _body(b, x, y, r, wide, sit, paint, light)
    _arms(b, x, y + r + 6, wide, scene.arms, paint)
    _ears(b, scene.kind, x, y, r, paint, light)
    b.ellipse(x, y, r * 1.06, r, paint)
    _face(b, scene.kind, scene.expression, x, y, r, light)
    if scene.hat != "none":
        _hat(b, x, y - r * (1.12 if scene.kind == "frog" else 0.82), PAINT[scene.hat])


def _body(
    b: Board, x: float, y: float, r: float, wide: float, sit: bool, paint: Color, light: Color
) -> None:
    top = y + r - 4
    if sit:  # low and broad, feet forward
        b.ellipse(x, top + 17, wide + 3, 18, paint)
        b.ellipse(x, top + 19, wide - 5, 11, light, 0)
        for side in (-1, 1):
            b.ellipse(x + side * 15, top + 31, 10, 6, paint)
            b.ellipse(x + side * 18, top + 31, 3.6, 3.6, light, 0)
    else:  # tall, on two legs
        for side in (-1, 1):
            b.rectangle(x + side * 7 - 4, top + 28, x + side * 7 + 4, top + 50, paint)
            b.ellipse(x + side * 9, top + 51, 7, 4, paint)
        b.ellipse(x, top + 18, wide, 20, paint)
        b.ellipse(x, top + 20, wide - 6, 12, light, 0)


def _arms(b: Board, x: float, y: float, wide: float, arms: str, paint: Color) -> None:
    for side in (-1, 1):
        shoulder = (x + side * (wide - 4), y)
        hand = (x + side * (wide + 15), y - 24) if arms == "up" else (x + side * (wide + 5), y + 19)
        b.line([shoulder, hand], INK, 8.6)
        b.line([shoulder, hand], paint, 6.2)


def _ears(b: Board, kind: str, x: float, y: float, r: float, paint: Color, light: Color) -> None:
    for side in (-1, 1):
        if kind == "cat":
            b.polygon(
                [
                    (x + side * r * 0.95, y - r * 0.25),
                    (x + side * r * 0.9, y - r * 1.4),
                    (x + side * r * 0.2, y - r * 0.85),
                ],
                paint,
            )
        elif kind == "dog":
            b.ellipse(x + side * r * 1.14, y + r * 0.12, r * 0.34, r * 0.8, mix(paint, INK, 0.35))
        elif kind == "rabbit":
            b.ellipse(x + side * r * 0.55, y - r * 1.2, r * 0.27, r * 0.78, paint)
            b.ellipse(x + side * r * 0.55, y - r * 1.2, r * 0.12, r * 0.55, light, 0)
        elif kind == "bear":
            b.ellipse(x + side * r * 0.82, y - r * 0.72, r * 0.42, r * 0.42, paint)
            b.ellipse(x + side * r * 0.82, y - r * 0.72, r * 0.2, r * 0.2, light, 0)
        elif kind == "frog":
            b.ellipse(x + side * r * 0.6, y - r * 0.7, r * 0.42, r * 0.42, paint)


def _face(b: Board, kind: str, expression: str, x: float, y: float, r: float, light: Color) -> None:
    eye_x, eye_y = (r * 0.6, y - r * 0.68) if kind == "frog" else (r * 0.42, y - r * 0.2)
    mouth = y + r * 0.5
    if kind in ("dog", "bear"):
        b.ellipse(x, y + r * 0.42, r * 0.52, r * 0.42, light, 1)
    if kind in ("cat", "rabbit", "dog", "bear"):
        nose = r * (0.2 if kind in ("dog", "bear") else 0.12)
        b.ellipse(x, y + r * 0.14, nose, nose * 0.75, INK, 0)
    if kind == "cat":
        for side in (-1, 1):
            for dy in (0.12, 0.34):
                b.line(
                    [
                        (x + side * r * 0.55, y + r * (0.1 + dy)),
                        (x + side * r * 1.25, y + r * (dy * 1.6)),
                    ],
                    INK,
                    1.1,
                )
    for side in (-1, 1):
        _eye(b, expression, x + side * eye_x, eye_y, r * 0.25)
    if expression == "happy":
        b.arc(x, mouth - 3, r * 0.4, r * 0.4, 15, 165, 2.2)
    elif expression == "sad":
        b.arc(x, mouth + 7, r * 0.36, r * 0.36, 200, 340, 2.2)
    elif expression == "surprised":
        b.ellipse(x, mouth + 2, r * 0.2, r * 0.25, (120, 30, 40), 1.4)
    else:
        b.line([(x - r * 0.2, mouth + 2), (x + r * 0.2, mouth + 2)], INK, 2)


def _eye(b: Board, expression: str, x: float, y: float, r: float) -> None:
    if expression == "sleepy":
        b.arc(x, y - 1, r, r, 10, 170, 2.2)
        return
    wide = 1.25 if expression == "surprised" else 1.0
    b.ellipse(x, y, r * wide, r * wide, WHITE, 1)
    b.ellipse(x, y + (1.5 if expression == "sad" else 0), r * 0.5, r * 0.5, INK, 0)


def _hat(b: Board, x: float, y: float, paint: Color) -> None:
    b.rectangle(x - 9, y - 15, x + 9, y + 1, paint)
    b.rectangle(x - 15, y - 1, x + 15, y + 4, paint)
    b.rectangle(x - 9, y - 6, x + 9, y - 2, mix(paint, INK, 0.45), 0)


def _things(b: Board, scene: Scene, j: Jitter) -> None:
    paint = PAINT[scene.thing_color]
    x0, y0 = 108 + j("thing x", -2, 3), 113 + j("thing y", -2, 2)
    for i in range(scene.count):
        x, y = x0 + j(f"thing{i}", -1.5, 1.5), y0 - 24 * i
        r = 9.4
        if scene.thing == "apple":
            b.line([(x, y - r + 2), (x + 2, y - r - 3)], (96, 60, 30), 2.2)
            b.ellipse(x - 2.6, y, r * 0.8, r * 0.92, paint)
            b.ellipse(x + 2.6, y, r * 0.8, r * 0.92, paint)
            b.ellipse(x, y, r * 0.8, r * 0.8, paint, 0)
            b.ellipse(x + 5.5, y - r - 1, 3.4, 1.8, (80, 170, 70), 0.8)
        elif scene.thing == "ball":
            b.ellipse(x, y, r, r, paint)
            b.rectangle(x - r + 1.2, y - 2, x + r - 1.2, y + 2, WHITE, 0)
        elif scene.thing == "star":
            spikes = [(0, -1), (0.26, -0.36), (0.95, -0.31), (0.42, 0.14), (0.59, 0.81), (0, 0.44)]
            outline = spikes + [(-u, v) for u, v in spikes[-2:0:-1]]
            b.polygon([(x + 1.15 * r * u, y + 1.15 * r * v) for u, v in outline], paint)
        elif scene.thing == "cup":
            b.ellipse(x + 8, y, 4.5, 4.5, paint)
            b.ellipse(x + 8, y, 2, 2, WHITE)
            b.polygon([(x - 8, y - 8), (x + 7, y - 8), (x + 5, y + 9), (x - 6, y + 9)], paint)
