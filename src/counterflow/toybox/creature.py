"""Draws the creature: one of five heads on a body that stands or sits, of one of five materials."""

from __future__ import annotations

from math import sqrt

from counterflow.toybox.board import INK, PAINT, WHITE, Board, Color, Jitter, mix
from counterflow.toybox.scene import Scene

WOOD: Color = (178, 120, 66)
STEEL: Color = (176, 190, 204)
TURN = {"left": -1, "forward": 0, "right": 1}


def draw_creature(b: Board, scene: Scene, j: Jitter) -> None:
    """Draw the creature of a scene, and its hat if it has one."""
    paint = b.paint(PAINT[scene.color])
    light = mix(paint, b.paint(WHITE), 0.55)
    x = 62 + j("creature x", -3.5, 3.5)
    r = 19.5 + j("head", -1.5, 1.5)
    sit = scene.posture == "sitting"
    y = (60 if sit else 48) + j("creature y", -2.5, 2.5)
    wide = 15 + j("body", -1.5, 2)
    turn = TURN[scene.facing]
    limbs = {"wooden": b.paint(WOOD), "metal": b.paint(STEEL)}.get(scene.material, paint)
    _body(b, x, y + r - 4, wide, sit, turn, limbs)
    _material(b, scene.material, x, y + r + (13 if sit else 14), wide, sit, turn, limbs, light)
    _arms(b, x, y + r + 6, wide, scene.arms, limbs)
    face = x + turn * r * 0.4
    _ears(b, scene.kind, x, y, r, face, paint, light)
    b.ellipse(x, y, r * 1.06, r, paint)
    _face(b, scene.kind, scene.expression, face, y, r, turn, light)
    if scene.hat != "none":
        hat = b.paint(PAINT[scene.hat])
        _hat(b, x, y - r * (1.12 if scene.kind == "frog" else 0.82), hat)


def _body(b: Board, x: float, top: float, wide: float, sit: bool, turn: int, limbs: Color) -> None:
    if sit:  # low and broad, with the feet forward
        b.ellipse(x, top + 17, wide + 3, 18, limbs)
        for side in (-1, 1):
            b.ellipse(x + side * 15 + turn * 4, top + 31, 10, 6, limbs)
    else:  # tall, on two legs
        for side in (-1, 1):
            b.rectangle(x + side * 7 - 4, top + 28, x + side * 7 + 4, top + 50, limbs)
            b.ellipse(x + (side * 7 + turn * 5 if turn else side * 9), top + 51, 7, 4, limbs)
        b.ellipse(x, top + 18, wide, 20, limbs)


def _material(
    b: Board,
    material: str,
    x: float,
    y: float,
    wide: float,
    sit: bool,
    turn: int,
    limbs: Color,
    light: Color,
) -> None:
    """Draw the pattern of a material on the body's ellipse, whose centre is (x, y)."""
    rx, ry = (wide + 2, 17.0) if sit else (wide - 1, 19.0)

    def half(dy: float) -> float:
        """Half the width of the ellipse, `dy` below its centre."""
        return rx * sqrt(max(0.0, 1 - (dy / ry) * (dy / ry)))

    if material == "plain":
        b.ellipse(x + 3 * turn, y + 2, wide - 6, 12, light, 0)
    elif material == "striped":
        dark = mix(limbs, INK, 0.55)
        for dy in (-9, -1, 7, 14.5):
            edges = [(half(dy + t), dy + t) for t in (-2, 0, 2)]
            right = [(x + w, y + t) for w, t in edges]
            b.polygon(right + [(x - w, y + t) for w, t in reversed(edges)], dark, 0)
    elif material == "spotted":
        spots = ((-7, -7), (7, -9), (-9, 3), (9, 2), (0, 5), (-6, 12), (6, 12))
        for across, down in spots:
            b.ellipse(x + across * wide / 15, y + down, 3.2, 3.2, b.paint(WHITE), 0)
    elif material == "wooden":
        grain = mix(limbs, INK, 0.5)
        for u in (-0.62, -0.22, 0.2, 0.6):
            tall = ry * sqrt(1 - u * u) * 0.92
            bow = [(x + u * rx + d, y + t * tall) for t, d in ((-1, 0), (0, 1.6), (1, 0))]
            b.line(bow, grain, 1.5)
        b.ellipse(x - 0.42 * rx, y + 5, 2.6, 3.6, grain, 0)
    elif material == "metal":
        shine = mix(limbs, b.paint(WHITE), 0.85)
        band = ((-9, 4), (-9, -3), (9, -11), (9, -4))
        b.polygon([(x + across * rx / 14, y + down) for across, down in band], shine, 0)
        for part, down in ((-0.6, -9), (0.6, 4), (-0.55, 11), (0.5, 12)):
            b.ellipse(x + part * rx, y + down, 2, 2, mix(limbs, INK, 0.75), 0)


def _arms(b: Board, x: float, y: float, wide: float, arms: str, limbs: Color) -> None:
    for side in (-1, 1):
        shoulder = (x + side * (wide - 4), y)
        if arms == "crossed":
            bend = (x + side * (wide + 4), y + 9)
            b.limb([shoulder, bend, (x - side * 7, y + 9 + side)], limbs, 7)
        elif arms == "up":
            b.limb([shoulder, (x + side * (wide + 15), y - 24)], limbs, 7.2)
        else:
            b.limb([shoulder, (x + side * (wide + 5), y + 19)], limbs, 7.2)


def _ears(
    b: Board, kind: str, x: float, y: float, r: float, face: float, paint: Color, light: Color
) -> None:
    for side in (-1, 1):
        if kind == "cat":
            tip = [(0.95, -0.25), (0.9, -1.4), (0.2, -0.85)]
            b.polygon([(x + side * r * u, y + r * v) for u, v in tip], paint)
        elif kind == "dog":
            b.ellipse(x + side * r * 1.14, y + r * 0.12, r * 0.34, r * 0.8, mix(paint, INK, 0.35))
        elif kind == "rabbit":
            b.ellipse(x + side * r * 0.55, y - r * 1.2, r * 0.27, r * 0.78, paint)
            b.ellipse(x + side * r * 0.55, y - r * 1.2, r * 0.12, r * 0.55, light, 0)
        elif kind == "bear":
            b.ellipse(x + side * r * 0.82, y - r * 0.72, r * 0.42, r * 0.42, paint)
            b.ellipse(x + side * r * 0.82, y - r * 0.72, r * 0.2, r * 0.2, light, 0)
        elif kind == "frog":
            b.ellipse(face + side * r * 0.6, y - r * 0.7, r * 0.42, r * 0.42, paint)


def _face(
    b: Board, kind: str, expression: str, x: float, y: float, r: float, turn: int, light: Color
) -> None:
    line = b.style.line
    eye_x, eye_y = (r * 0.6, y - r * 0.68) if kind == "frog" else (r * 0.42, y - r * 0.2)
    mouth = y + r * 0.5
    if kind in ("dog", "bear"):
        b.ellipse(x, y + r * 0.42, r * 0.52, r * 0.42, light, 1)
    if kind in ("cat", "rabbit", "dog", "bear") and not b.style.cells:
        nose = r * (0.2 if kind in ("dog", "bear") else 0.12)
        b.ellipse(x, y + r * 0.14, nose, nose * 0.75, INK if kind in ("dog", "bear") else line, 0)
    if kind == "cat":
        for side in (-1, 1):
            for v in (0.12, 0.34):
                near, far = (0.55, 0.1 + v), (1.2, v * 1.6)
                b.line([(x + side * r * u, y + r * w) for u, w in (near, far)], line, 1.2)
    for side in (-1, 1):
        _eye(b, expression, x + side * eye_x, eye_y, r * 0.25 * b.style.features, turn)
        if expression == "sad":  # the brows slope down, away from the nose
            brow = [(side * (eye_x - 5), eye_y - 9.5), (side * (eye_x + 5), eye_y - 5)]
            b.stroke([(x + u, v) for u, v in brow], 2)
    _mouth(b, expression, x, mouth, r)


def _mouth(b: Board, expression: str, x: float, y: float, r: float) -> None:
    r *= b.style.features
    if expression == "happy":
        b.arc(x, y - 3, r * 0.42, r * 0.42, 15, 165, 2.4)
    elif expression == "sad":
        b.arc(x, y + 7, r * 0.36, r * 0.36, 200, 340, 2.4)
    elif expression == "surprised":
        b.ellipse(x, y + 2, r * 0.21, r * 0.26, (120, 30, 40), 1.2)
    else:
        b.stroke([(x - r * 0.2, y + 2), (x + r * 0.2, y + 2)], 2.2)


def _eye(b: Board, expression: str, x: float, y: float, r: float, turn: int) -> None:
    if expression == "sleepy":
        b.arc(x, y - 1, r, r, 10, 170, 2.4)
        return
    wide = 1.25 if expression == "surprised" else 1.0
    b.ellipse(x, y, r * wide, r * wide, WHITE, 0 if b.style.cells else 1)
    b.ellipse(x + 1.2 * turn, y + (1.5 if expression == "sad" else 0), r * 0.52, r * 0.52, INK, 0)


def _hat(b: Board, x: float, y: float, paint: Color) -> None:
    b.rectangle(x - 9, y - 15, x + 9, y + 1, paint)
    b.rectangle(x - 15, y - 1, x + 15, y + 4, paint)
    b.rectangle(x - 9, y - 6, x + 9, y - 2, mix(paint, INK, 0.45), 0)
