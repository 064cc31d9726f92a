"""Says a `Scene` in one sentence, with many phrasings and orders of phrase.

Every choice of words is drawn alone, from the phrasing's seed and the slot's name, so two
scenes that differ in one field get sentences that differ only in that field's words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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
SUBJECTS = (
    "{a_expression} {color} {kind}",
    "{a_color} {expression} {kind}",
    "{a_color} {kind} looking {expression}",
)
ARMS = {"up": ("with arms up", "with raised arms"), "down": ("with arms down", "with lowered arms")}
HATS = ("wearing {a_hat} hat", "with {a_hat} hat", "in {a_hat} hat")
SIGNS = ("beside a sign saying {letter}", "by a sign with {letter}", "and a sign saying {letter}")
THINGS = ("next to {things}", "with {things}", "near {things}")
DETAILS = ("posture", "arms", "hat", "thing", "sign", "place")


def caption(scene: Scene, phrasing: int | None = None) -> str:
    """One sentence that names every field of a scene.

    `phrasing` seeds the choice of words and their order; by default the scene's own seed.
    """
    say = Phrasing(scene.seed if phrasing is None else phrasing)
    subject = say("subject", SUBJECTS).format(
        expression=scene.expression,
        a_expression=article(scene.expression),
        color=scene.color,
        a_color=article(scene.color),
        kind=scene.kind,
    )
    details = {
        "posture": scene.posture,
        "arms": say("arms", ARMS[scene.arms]),
        "place": say("place", PLACES[scene.background]),
    }
    if scene.hat != "none":
        details["hat"] = say("hat", HATS).format(a_hat=article(scene.hat))
    if scene.letter != "none":
        details["sign"] = say("sign", SIGNS).format(letter=scene.letter)
    if scene.thing != "none":
        details["thing"] = say("thing", THINGS).format(things=things(scene))
    words = [details[name] for name in say.order(DETAILS) if name in details]
    if say("opening", (True, False, False)):
        words.remove(details["place"])
        return f"{details['place']}, {subject} {' '.join(words)}"
    return f"{subject} {' '.join(words)}"


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
