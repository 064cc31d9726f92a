"""Says a `Scene` in one sentence, with many phrasings and orders of phrase.

Every choice of words is drawn alone, from the phrasing's seed and the slot's name, so two
scenes that differ in one field get sentences that differ only in that field's words. What is
plain is not said: a plain material, the flat style, looking forward, nothing on the head.
A brief caption leaves out more, as people do.
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
"""Fields that every full caption says and a brief one may leave out."""
DETAILS = ("posture", "arms", "facing", "hat", "thing", "sign", "place", "style")


def caption(
    scene: Scene, phrasing: int | None = None, unsaid: Collection[str] = frozenset()
) -> str:
    """One sentence that names every field of a scene, but for those in `unsaid`.

    `phrasing` seeds the choice of words and their order; by default the scene's own seed.
    `unsaid` may hold fields in `OPTIONAL` (else ValueError); the other words stay as they are.
    """
    if not set(unsaid) <= set(OPTIONAL):
        raise ValueError(f"a caption may leave out {', '.join(OPTIONAL)}, not {sorted(unsaid)}")
    say = Phrasing(scene.seed if phrasing is None else phrasing)
    details = {}
    if "posture" not in unsaid:
        details["posture"] = scene.posture
    if "arms" not in unsaid:
        details["arms"] = say("arms", ARMS[scene.arms])
    if "background" not in unsaid:
        details["place"] = say("place", PLACES[scene.background])
    if scene.facing != "forward":
        details["facing"] = say("facing", FACINGS[scene.facing])
    if scene.hat != "none":
        details["hat"] = say("hat", HATS).format(a_hat=article(scene.hat))
    if scene.letter != "none":
        details["sign"] = say("sign", SIGNS).format(letter=scene.letter)
    if scene.thing != "none":
        details["thing"] = say("thing", THINGS).format(things=things(scene))
    if scene.style != "flat":
        details["style"] = say("style", STYLES[scene.style])
    start = [subject(scene, say, unsaid)]
    if details.get("style", "").endswith(" of"):
        start.insert(0, details.pop("style"))
    if "place" in details and say("opening", (True, False, False)):
        start.insert(0, f"{details.pop('place')},")
    return " ".join(start + [details[name] for name in say.order(DETAILS) if name in details])


def left_out(phrasing: int) -> set[str]:
    """What a brief caption in this phrasing leaves unsaid: each of `OPTIONAL`, or not."""
    say = Phrasing(phrasing)
    return {name for name in OPTIONAL if say(f"leave out {name}", (True, False))}


def subject(scene: Scene, say: Phrasing, unsaid: Collection[str] = frozenset()) -> str:
    """The creature, as "a happy red wooden cat" or "a red cat looking happy made of wood"."""
    words = {"expression": scene.expression, "color": scene.color, "material": scene.material}
    words = {name: word for name, word in words.items() if name not in unsaid}
    after = []
    if "expression" in words and say("expression", (True, False, False)):
        after.append(f"looking {words.pop('expression')}")
    if scene.material == "plain":
        del words["material"]
    elif say("material", (True, False, False)):
        after.insert(say("material first", (0, len(after))), MATERIALS[words.pop("material")])
    before = [words[name] for name in say.order(ADJECTIVES) if name in words]
    return article(" ".join([*before, scene.kind, *after]))


def things(scene: Scene) -> str:
    """The things beside the creature, as "a red apple" or "three red apples"."""
    if scene.count == 1:
        return f"{article(scene.thing_color)} {scene.thing}"
    return f"{NUMBERS[scene.count]} {scene.thing_color} {scene.thing}s"


def article(word: str) -> str:
    """The word behind its indefinite article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


class Phrasing:
    """Named choices of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, slot: str, options: Sequence[T]) -> T:
        return random.Random(f"phrasing {self.seed} {slot}").choice(options)

    def order(self, names: Sequence[str]) -> list[str]:
        return sorted(
            names, key=lambda name: random.Random(f"phrasing {self.seed} order {name}").random()
        )
