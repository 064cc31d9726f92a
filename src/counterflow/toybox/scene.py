"""What a toybox picture shows, as plain data.

A `Scene` is frozen, hashable and serialisable. Its `seed` decides everything that the other fields
do not (position, size, proportions). So changing one field and rendering again gives the correct
edited picture: see `counterflow.toybox.edits`.
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

    `material` is the body's, `facing` is to the viewer's left or right. `hat` is the hat's colour
    and `letter` is the letter on the sign; `"none"` means no hat and no sign. Without a `thing`,
    `count` must be 1 and `thing_color` must be `"red"`, so that equal pictures are equal scenes.
    Raises ValueError for a value that is not in `VALUES`.
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
                    f"{name} is {getattr(self, name)!r}; it must be one of "
                    f"{', '.join(map(str, allowed))}"
                )
        if not isinstance(self.seed, int):
            raise ValueError(f"seed is a whole number, not {self.seed!r}")
        if self.thing == "none" and (self.count, self.thing_color) != (1, "red"):
            raise ValueError("without a thing, count must be 1 and thing_color must be 'red'")

    def to_dict(self) -> dict[str, Any]:
        """The scene as JSON-ready data; `Scene.from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scene:
        """The scene of such data. Raises ValueError for an unknown field or value."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a scene has no field {', '.join(sorted(unknown))}")
        return cls(**data)

    def but(self, **changes: Any) -> Scene:
        """The same scene with some fields changed.

        `thing="none"` also resets the fields of the thing, `count` and `thing_color`.
        """
        if changes.get("thing") == "none":
            changes |= {"count": 1, "thing_color": "red"}
        return replace(self, **changes)


def fields_said(scene: Scene) -> list[str]:
    """The fields that the scene has; `count` and `thing_color` only if it has a thing."""
    return [k for k in VALUES if scene.thing != "none" or k not in ("count", "thing_color")]


TRAINING_SEEDS = range(10**9, 2 * 10**9)
"""Seeds of the scenes that train the model and the judge. Nothing may be measured on them."""

HELD_OUT_SEEDS = range(2 * 10**9, 2 * 10**9 + 10**6)
"""Seeds of the scenes on which the recipe measures its progress while it trains."""


def check_fresh(seed: int, count: int) -> None:
    """Raise InputError if training used a scene with a seed from `seed` to `seed + count - 1`.

    Raises InputError for a negative seed too.
    """
    if seed < 0:
        raise InputError(f"a scene's seed must be 0 or more, not {seed}")
    last = seed + count - 1
    for purpose, used in (("was trained on", TRAINING_SEEDS), ("was tuned on", HELD_OUT_SEEDS)):
        if seed < used.stop and used.start <= last:
            raise InputError(
                f"the model {purpose} scenes {used.start} to {used.stop - 1}, so seeds {seed} to "
                f"{last} are not fresh; give a seed outside that range"
            )


def sample(seed: int) -> Scene:
    """A random scene, the same for the same seed. It has at most two of hat, sign and thing."""
    rng = random.Random(f"scene {seed}")
    thing = rng.choice(THINGS[1:]) if rng.random() < 0.65 else "none"
    hat = rng.choice(COLORS) if rng.random() < 0.5 else "none"
    has_sign = rng.random() < (0.55 if "none" in (thing, hat) else 0.0)
    return Scene(
        kind=rng.choice(KINDS),
        color=rng.choice(COLORS),
        material=rng.choice(MATERIALS),
        expression=rng.choice(EXPRESSIONS),
        arms=rng.choice(ARMS),
        posture=rng.choice(POSTURES),
        facing=rng.choice(FACINGS),
        hat=hat,
        letter=rng.choice(LETTERS[1:]) if has_sign else "none",
        thing=thing,
        count=1 if thing == "none" else rng.choice(COUNTS),
        thing_color="red" if thing == "none" else rng.choice(COLORS),
        background=rng.choice(BACKGROUNDS),
        style=rng.choice(STYLES),
        seed=seed,
    )
