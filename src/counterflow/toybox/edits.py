"""Edits of a scene: change one field, render again, and the truth of the edit is known.

Both scenes share their seed, so everything that the changed field does not decide stays
where it was, and the mask is where the two pictures differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from counterflow.toybox.board import BOARD
from counterflow.toybox.captions import caption, left_out
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

GROWTH = 2
"""Pixels, on a 128-pixel board, by which a mask is grown beyond the exact difference."""


@dataclass(frozen=True)
class SceneEdit:
    """A scene, the scene it becomes, and the kind of change."""

    source: Scene
    target: Scene
    category: int

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The fields that differ, with their values before and after."""
        before, after = self.source.to_dict(), self.target.to_dict()
        return {k: (before[k], after[k]) for k in before if before[k] != after[k]}

    @property
    def decided(self) -> set[str]:
        """The fields that the edit decides: those that differ or are only said afterwards."""
        newly_said = set(fields_said(self.target)) - set(fields_said(self.source))
        return {*self.changed} | newly_said

    @property
    def prompts(self) -> tuple[str, str]:
        """Brief captions of both scenes, in the same phrasing; what changes is said in both."""
        unsaid = left_out(self.source.seed) - self.changed.keys()
        return caption(self.source, unsaid=unsaid), caption(self.target, unsaid=unsaid)

    def mask(self, size: int = BOARD) -> np.ndarray:
        """Bool `[size, size]`: where the two pictures differ, grown a little.

        A change of style is everywhere, also where both styles happen to agree.
        """
        if "style" in self.changed:
            return np.ones((size, size), bool)
        before, after = (np.asarray(render(s, size), int) for s in (self.source, self.target))
        exact = Image.fromarray((np.abs(before - after).max(-1) > 8).astype(np.uint8) * 255)
        reach = 2 * max(1, round(GROWTH * size / BOARD)) + 1
        return np.asarray(exact.filter(ImageFilter.MaxFilter(reach))) > 0


def draw_edit(scene: Scene, category: int, seed: int) -> SceneEdit:
    """An edit of a category. The scene is first given what the edit needs (a hat to remove …)."""
    rng = random.Random(f"edit {seed} {category}")
    edit = SceneEdit(*MAKERS[category](scene, rng), category)
    for extra in EXTRAS:  # a sampled scene has at most two of them, and so has an edit's
        if extra not in edit.changed and _crowded(edit):
            without = {extra: "none"}
            edit = SceneEdit(edit.source.but(**without), edit.target.but(**without), category)
    return edit


def _crowded(edit: SceneEdit) -> bool:
    return any(
        all(getattr(scene, extra) != "none" for extra in EXTRAS)
        for scene in (edit.source, edit.target)
    )


def _other(rng: random.Random, field: str, *but: Any) -> Any:
    return rng.choice([value for value in VALUES[field] if value not in but])


def _with_thing(scene: Scene, rng: random.Random) -> Scene:
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
    what = rng.choice(("hat", "letter", "thing"))
    without = scene.but(**{what: "none"})
    if what == "thing":
        return without, _with_thing(without, rng)
    return without, without.but(**{what: _other(rng, what, "none")})


def _delete_object(scene: Scene, rng: random.Random) -> Pair:
    without, having = _add_object(scene, rng)
    return having, without


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
    """The maker of edits that change one field which every scene has."""

    def maker(scene: Scene, rng: random.Random) -> Pair:
        return scene, scene.but(**{field: _other(rng, field, getattr(scene, field))})

    return maker


def _random(scene: Scene, rng: random.Random) -> Pair:
    if rng.random() < 0.5:  # quantity
        scene = _with_thing(scene, rng)
        return scene, scene.but(count=_other(rng, "count", scene.count))
    makers: list[Maker] = [_change_pose, _change_content]
    first = rng.choice(makers)
    scene, once = first(scene, rng)
    return scene, once.but(color=_other(rng, "color", once.color))


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
