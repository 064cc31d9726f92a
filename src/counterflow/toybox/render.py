"""Draws a `Scene`. Equal scenes give equal pixels at every size."""

from __future__ import annotations

from PIL import Image

from counterflow.toybox.board import BOARD, DRAWING_STYLES, Board, Jitter
from counterflow.toybox.creature import draw_creature
from counterflow.toybox.scene import Scene
from counterflow.toybox.scenery import draw_background
from counterflow.toybox.things import draw_sign, draw_things


def render(scene: Scene, size: int = BOARD) -> Image.Image:
    """Draw a scene as an RGB image of `size`×`size` pixels."""
    board = Board(size, DRAWING_STYLES[scene.style])
    jitter = Jitter(scene.seed)
    draw_background(board, scene.background, jitter)
    if scene.letter != "none":
        draw_sign(board, scene.letter, jitter)
    draw_creature(board, scene, jitter)
    if scene.thing != "none":
        draw_things(board, scene, jitter)
    return board.image()
