"""Pictures to begin with, drawn by the toybox when the page is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from PIL import Image

from counterflow.toybox.edits import draw_edit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

CHOSEN = ((55, 6), (33, 1), (80, 8), (61, 4), (40, 3))
"""Seeds of scenes, with the kind of edit that each is to show."""


@dataclass(frozen=True)
class Example:
    """A scene with its sentence, and what it may become."""

    name: str
    picture: Image.Image
    source: str
    target: str


@cache
def examples() -> tuple[Example, ...]:
    """All of them."""
    made = []
    for n, (seed, category) in enumerate(CHOSEN, 1):
        edit = draw_edit(sample(seed), category, seed)
        made.append(Example(f"example-{n}.png", render(edit.source), *edit.prompts))
    return tuple(made)
