"""Edits of a scene whose correct result is known: change one field and render again.

Both scenes have the same seed, so all that does not depend on the changed field stays where it
was. The mask of an edit is where the two pictures differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from counterflow.toybox.board import BOARD
from counterflow.toybox.captions import caption, omitted_fields
from counterflow.toybox.render import render
from counterflow.toybox.scene import COUNTS, VALUES, Scene, fields_said

CATEGORIES = {
    1: "change object",
    2: "add object",
    3: "delete object",
    4: "change content",
    5: "change pose",
    6: "change colour",
    7: "change material",
    8: "change background",
    9: "change style",
    0: "random",
}
"""PIE-Bench's numbers and names of its ten kinds of edit."""

EXTRAS = ("hat", "letter", "thing")
"""Fields of the objects that a scene may have; the value "none" means that it is absent."""

GROWTH = 2
"""Pixels, in a picture of 128×128, by which a mask is larger on each side than the difference."""


@dataclass(frozen=True)
class SceneEdit:
    """A scene before and after an edit, and the edit's number in `CATEGORIES`."""

    source: Scene
    target: Scene
    category: int

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The fields that differ, each with its values before and after."""
        before, after = self.source.to_dict(), self.target.to_dict()
        return {k: (before[k], after[k]) for k in before if before[k] != after[k]}

    @property
    def decided(self) -> set[str]:
        """The fields that the edit decides: those that differ, and those of an added thing."""
        added = set(fields_said(self.target)) - set(fields_said(self.source))
        return {*self.changed} | added

    @property
    def prompts(self) -> tuple[str, str]:
        """Brief captions of source and target, in the same phrasing.

        Neither leaves out a field that changes.
        """
        omitted = omitted_fields(self.source.seed) - self.changed.keys()
        return caption(self.source, omitted=omitted), caption(self.target, omitted=omitted)

    def mask(self, size: int = BOARD) -> np.ndarray:
        """Bool `[size, size]`: where the two pictures differ, and `GROWTH` pixels around.

        For a change of style it is true everywhere, also where both styles give equal pixels.
        """
        if "style" in self.changed:
            return np.ones((size, size), bool)
        before, after = (np.asarray(render(s, size), int) for s in (self.source, self.target))
        exact = Image.fromarray((np.abs(before - after).max(-1) > 8).astype(np.uint8) * 255)
        window = 2 * max(1, round(GROWTH * size / BOARD)) + 1
        return np.asarray(exact.filter(ImageFilter.MaxFilter(window))) > 0


def draw_edit(scene: Scene, category: int, seed: int) -> SceneEdit:
    """Draw an edit of a category in `CATEGORIES`, the same for the same scene and seed.

    The scene is changed first if the edit needs it: only a scene with a hat can lose one.
    """
    rng = random.Random(f"edit {seed} {category}")
    edit = SceneEdit(*MAKERS[category](scene, rng), category)
    for extra in EXTRAS:  # keep at most two of them, as `sample` does
        if extra not in edit.changed and _crowded(edit):
            without = {extra: "none"}
            edit = SceneEdit(edit.source.but(**without), edit.target.but(**without), category)
    return edit


def _crowded(edit: SceneEdit) -> bool:
    """Whether a scene of the edit has all three extras."""
    return any(
        all(getattr(scene, extra) != "none" for extra in EXTRAS)
        for scene in (edit.source, edit.target)
    )


def _other(rng: random.Random, field: str, *excluded: Any) -> Any:
    """A random value of a field that is not among those excluded."""
    return rng.choice([value for value in VALUES[field] if value not in excluded])


def _with_thing(scene: Scene, rng: random.Random) -> Scene:
    """The scene, with a random thing if it has none."""
    if scene.thing != "none":
        return scene
    color = _other(rng, "thing_color")
    return scene.but(
        thing=_other(rng, "thing", "none"), thing_color=color, count=rng.choice(COUNTS)
    )


Pair = tuple[Scene, Scene]
Maker = Callable[[Scene, random.Random], Pair]


def _change_object(scene: Scene, rng: random.Random) -> Pair:
    if rng.random() < 0.6:
        return scene, scene.but(kind=_other(rng, "kind", scene.kind))
    scene = _with_thing(scene, rng)
    return scene, scene.but(thing=_other(rng, "thing", "none", scene.thing))


def _add_object(scene: Scene, rng: random.Random) -> Pair:
    field = rng.choice(("hat", "letter", "thing"))
    without = scene.but(**{field: "none"})
    if field == "thing":
        return without, _with_thing(without, rng)
    return without, without.but(**{field: _other(rng, field, "none")})


def _delete_object(scene: Scene, rng: random.Random) -> Pair:
    without, with_object = _add_object(scene, rng)
    return with_object, without


def _change_content(scene: Scene, rng: random.Random) -> Pair:
    if rng.random() < 0.7:
        return scene, scene.but(expression=_other(rng, "expression", scene.expression))
    if scene.letter == "none":
        scene = scene.but(letter=_other(rng, "letter", "none"))
    return scene, scene.but(letter=_other(rng, "letter", "none", scene.letter))


def _change_pose(scene: Scene, rng: random.Random) -> Pair:
    field = rng.choice(("arms", "posture", "facing"))
    return scene, scene.but(**{field: _other(rng, field, getattr(scene, field))})


def _change_color(scene: Scene, rng: random.Random) -> Pair:
    field = rng.choice(("color", "hat", "thing_color"))
    if field == "hat" and scene.hat == "none":
        scene = scene.but(hat=_other(rng, "hat", "none"))
    if field == "thing_color":
        scene = _with_thing(scene, rng)
    return scene, scene.but(**{field: _other(rng, field, "none", getattr(scene, field))})


def _change(field: str) -> Maker:
    """Return a function that makes an edit of one field, which every scene must have."""

    def maker(scene: Scene, rng: random.Random) -> Pair:
        return scene, scene.but(**{field: _other(rng, field, getattr(scene, field))})

    return maker


def _random(scene: Scene, rng: random.Random) -> Pair:
    if rng.random() < 0.5:  # quantity
        scene = _with_thing(scene, rng)
        return scene, scene.but(count=_other(rng, "count", scene.count))
    makers: list[Maker] = [_change_pose, _change_content]
    make = rng.choice(makers)
    scene, target = make(scene, rng)
    return scene, target.but(color=_other(rng, "color", target.color))


MAKERS: dict[int, Maker] = {
    0: _random,
    1: _change_object,
    2: _add_object,
    3: _delete_object,
    4: _change_content,
    5: _change_pose,
    6: _change_color,
    7: _change("material"),
    8: _change("background"),
    9: _change("style"),
}
