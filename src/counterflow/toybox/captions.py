"""Describes a `Scene` in one sentence, with many choices of words and of their order.

Each choice depends only on the phrasing's seed and the choice's name. So two scenes that differ in
one field get sentences that differ only in the words for that field. Default values are not
mentioned: a plain material, the flat style, facing forward, no hat. A brief caption leaves out
more, as people do.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import TypeVar

from counterflow.toybox.scene import Scene

T = TypeVar("T")

NUMBERS = {2: "two", 3: "three"}
PLACES = {
    "sky": ("in the sky", "in the clouds"),
    "night": ("at night", "under the stars"),
    "grass": ("on the grass", "in a meadow"),
    "beach": ("on the beach", "by the sea"),
    "snow": ("in the snow", "in winter"),
    "room": ("in a room", "inside a house"),
}
MATERIALS = {
    "striped": "with stripes",
    "spotted": "with spots",
    "wooden": "made of wood",
    "metal": "made of metal",
}
ADJECTIVES = ("expression", "color", "material")
ARMS = {
    "up": ("with arms up", "with raised arms"),
    "down": ("with arms down", "with lowered arms"),
    "crossed": ("with arms crossed", "with folded arms"),
}
FACINGS = {"left": ("facing left", "turned left"), "right": ("facing right", "turned right")}
HATS = ("wearing {a_hat} hat", "with {a_hat} hat", "in {a_hat} hat")
SIGNS = ("beside a sign saying {letter}", "by a sign with {letter}", "and a sign saying {letter}")
THINGS = ("next to {things}", "with {things}", "near {things}")
STYLES = {
    "ink": ("an ink drawing of", "in ink"),
    "pixel": ("pixel art of", "in pixels"),
    "chalk": ("a chalk drawing of", "in chalk"),
}
OPTIONAL = ("expression", "color", "arms", "posture", "background")
"""Fields that every full caption names and a brief caption may leave out."""
DETAILS = ("posture", "arms", "facing", "hat", "thing", "sign", "place", "style")
"""The parts around the words for the creature; their order is random."""


def caption(
    scene: Scene, phrasing: int | None = None, omitted: Collection[str] = frozenset()
) -> str:
    """One sentence that names every field of a scene except those in `omitted`.

    `phrasing` is the seed for the choice of words and their order, by default the scene's own
    seed. Omitting a field does not change the other words. Raises ValueError if `omitted` holds a
    field that is not in `OPTIONAL`.
    """
    if not set(omitted) <= set(OPTIONAL):
        raise ValueError(f"a caption may leave out {', '.join(OPTIONAL)}, not {sorted(omitted)}")
    choose = Phrasing(scene.seed if phrasing is None else phrasing)
    details = {}
    if "posture" not in omitted:
        details["posture"] = scene.posture
    if "arms" not in omitted:
        details["arms"] = choose("arms", ARMS[scene.arms])
    if "background" not in omitted:
        details["place"] = choose("place", PLACES[scene.background])
    if scene.facing != "forward":
        details["facing"] = choose("facing", FACINGS[scene.facing])
    if scene.hat != "none":
        details["hat"] = choose("hat", HATS).format(a_hat=article(scene.hat))
    if scene.letter != "none":
        details["sign"] = choose("sign", SIGNS).format(letter=scene.letter)
    if scene.thing != "none":
        details["thing"] = choose("thing", THINGS).format(things=things(scene))
    if scene.style != "flat":
        details["style"] = choose("style", STYLES[scene.style])
    start = [subject(scene, choose, omitted)]
    if details.get("style", "").endswith(" of"):
        start.insert(0, details.pop("style"))
    if "place" in details and choose("opening", (True, False, False)):
        start.insert(0, f"{details.pop('place')},")
    return " ".join(start + [details[name] for name in choose.order(DETAILS) if name in details])


def omitted_fields(phrasing: int) -> set[str]:
    """The fields that a brief caption with this phrasing leaves out: each of `OPTIONAL` by chance.

    The chance is one half for each field, independently.
    """
    choose = Phrasing(phrasing)
    return {name for name in OPTIONAL if choose(f"leave out {name}", (True, False))}


def subject(scene: Scene, choose: Phrasing, omitted: Collection[str] = frozenset()) -> str:
    """The creature in words: "a happy red wooden cat", "a red cat looking happy made of wood"."""
    words = {"expression": scene.expression, "color": scene.color, "material": scene.material}
    words = {name: word for name, word in words.items() if name not in omitted}
    after = []
    if "expression" in words and choose("expression", (True, False, False)):
        after.append(f"looking {words.pop('expression')}")
    if scene.material == "plain":
        del words["material"]
    elif choose("material", (True, False, False)):
        after.insert(choose("material first", (0, len(after))), MATERIALS[words.pop("material")])
    before = [words[name] for name in choose.order(ADJECTIVES) if name in words]
    return article(" ".join([*before, scene.kind, *after]))


def things(scene: Scene) -> str:
    """The things beside the creature in words: "a red apple" or "three red apples"."""
    if scene.count == 1:
        return f"{article(scene.thing_color)} {scene.thing}"
    return f"{NUMBERS[scene.count]} {scene.thing_color} {scene.thing}s"


def article(word: str) -> str:
    """The word with its indefinite article, as "an apple"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


class Phrasing:
    """Choices of one seed, by name: a choice does not depend on which others are made."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, name: str, options: Sequence[T]) -> T:
        """The option chosen for `name`."""
        return random.Random(f"phrasing {self.seed} {name}").choice(options)

    def order(self, names: Sequence[str]) -> list[str]:
        """The names in a random order; two names keep theirs when others are left out."""
        return sorted(
            names, key=lambda name: random.Random(f"phrasing {self.seed} order {name}").random()
        )
