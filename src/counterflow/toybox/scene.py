"""What a toybox picture shows, as plain data.

A `Scene` is frozen, hashable and serialisable. Its `seed` decides everything that the
fields do not say (position, size, proportions), so that changing one field and rendering
again gives the true edited picture: see `counterflow.toybox.edits`.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from counterflow.errors import InputError

KINDS = ("cat", "dog", "rabbit", "bear", "frog")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "gray")
MATERIALS = ("plain", "striped", "spotted", "wooden", "metal")
EXPRESSIONS = ("happy", "sad", "surprised", "sleepy")
ARMS = ("down", "up", "crossed")
POSTURES = ("standing", "sitting")
FACINGS = ("forward", "left", "right")
HATS = ("none", *COLORS)
LETTERS = ("none", "E", "H", "L", "O", "T", "X")
THINGS = ("none", "apple", "ball", "star", "cup", "flower", "mushroom")
COUNTS = (1, 2, 3)
BACKGROUNDS = ("sky", "night", "grass", "beach", "snow", "room")
STYLES = ("flat", "ink", "pixel", "chalk")

VALUES: dict[str, tuple[Any, ...]] = {
    "kind": KINDS,
    "color": COLORS,
    "material": MATERIALS,
    "expression": EXPRESSIONS,
    "arms": ARMS,
    "posture": POSTURES,
    "facing": FACINGS,
    "hat": HATS,
    "letter": LETTERS,
    "thing": THINGS,
    "count": COUNTS,
    "thing_color": COLORS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
"""Every field that a caption can name, with its values."""


@dataclass(frozen=True)
class Scene:
    """One creature in one place, perhaps with a hat, a sign and some things beside it.

    `material` is what the body is made of, `facing` is the viewer's left or right.
    `hat` is the hat's colour and `letter` what the sign says; `"none"` means that it is
    absent. Without a `thing`, `count` is 1 and `thing_color` is `"red"`, so that equal
    pictures are equal scenes.
    """

    kind: str = "cat"
    color: str = "orange"
    material: str = "plain"
    expression: str = "happy"
    arms: str = "down"
    posture: str = "standing"
    facing: str = "forward"
    hat: str = "none"
    letter: str = "none"
    thing: str = "none"
    count: int = 1
    thing_color: str = "red"
    background: str = "grass"
    style: str = "flat"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in VALUES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; one of {', '.join(map(str, allowed))}"
                )
        if self.thing == "none" and (self.count, self.thing_color) != (1, "red"):
            raise ValueError("a scene without a thing has count 1 and thing_color 'red'")

    def to_dict(self) -> dict[str, Any]:
        """The scene as JSON-ready data; `Scene.from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scene:
        """The scene that `to_dict` wrote. Raises ValueError for an unknown field or value."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a scene has no field {', '.join(sorted(unknown))}")
        return cls(**data)

    def but(self, **changes: Any) -> Scene:
        """The same scene with some fields changed; removing the thing resets what hangs on it."""
        if changes.get("thing") == "none":
            changes |= {"count": 1, "thing_color": "red"}
        return replace(self, **changes)


def fields_said(scene: Scene) -> list[str]:
    """The fields that the scene has: without a thing, not its count and colour."""
    return [k for k in VALUES if scene.thing != "none" or k not in ("count", "thing_color")]


TRAINING_SEEDS = range(10**9, 2 * 10**9)
"""Scenes the model and the judge learn from. No demo, test, case or benchmark may use these."""

HELD_OUT_SEEDS = range(2 * 10**9, 2 * 10**9 + 10**6)
"""Scenes the recipe measures itself on while it trains."""


def check_fresh(seed: int, count: int) -> None:
    """Refuse, with InputError, to measure on scenes that the training has seen."""
    if seed < 0:
        raise InputError(f"a scene's seed is 0 or more, not {seed}")
    wanted = range(seed, seed + count)
    for name, known in (("learned from", TRAINING_SEEDS), ("was tuned on", HELD_OUT_SEEDS)):
        if wanted.start < known.stop and known.start < wanted.stop:
            raise InputError(
                f"the model {name} scenes {known.start} to {known.stop - 1}; "
                f"seeds {seed} to {wanted.stop - 1} are not fresh"
            )


def sample(seed: int) -> Scene:
    """The scene of a seed: fields drawn alone, of hat, sign and thing at most two."""
    rng = random.Random(f"scene {seed}")
    thing = rng.choice(THINGS[1:]) if rng.random() < 0.65 else "none"
    hat = rng.choice(COLORS) if rng.random() < 0.5 else "none"
    signed = rng.random() < (0.55 if "none" in (thing, hat) else 0.0)
    return Scene(
        kind=rng.choice(KINDS),
        color=rng.choice(COLORS),
        material=rng.choice(MATERIALS),
        expression=rng.choice(EXPRESSIONS),
        arms=rng.choice(ARMS),
        posture=rng.choice(POSTURES),
        facing=rng.choice(FACINGS),
        hat=hat,
        letter=rng.choice(LETTERS[1:]) if signed else "none",
        thing=thing,
        count=1 if thing == "none" else rng.choice(COUNTS),
        thing_color="red" if thing == "none" else rng.choice(COLORS),
        background=rng.choice(BACKGROUNDS),
        style=rng.choice(STYLES),
        seed=seed,
    )
