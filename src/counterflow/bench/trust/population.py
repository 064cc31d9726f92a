"""Edits of which some must fail: pictures and sentences that fit a model, and many that do not."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from counterflow.bench.engine import judge_edit
from counterflow.bench.sets.toypie import scene_edits
from counterflow.bench.trust import pictures
from counterflow.toybox.captions import OPTIONAL, caption, omitted_fields
from counterflow.toybox.edits import SceneEdit
from counterflow.toybox.judge import Reading
from counterflow.toybox.render import render
from counterflow.toybox.scene import VALUES, Scene, fields_said

RIGHT = "right"
"""A picture of the model's world with a sentence that describes it."""
WRONG = ("another scene's sentence", "one attribute wrong")
PHOTOGRAPH = "photograph"
PLAIN = {
    "material": "plain",
    "facing": "forward",
    "hat": "none",
    "letter": "none",
    "thing": "none",
    "style": "flat",
}
"""Values that a caption does not mention."""
KINDS = (RIGHT, *WRONG, *pictures.SPOILT, *pictures.FOREIGN, PHOTOGRAPH)
HELD_OUT = (PHOTOGRAPH,)
"""Kinds that no calibration sees, so that an evaluation tells what it says of what is new."""


@dataclass(frozen=True)
class Trial:
    """An edit that is asked for, and how its outcome is told."""

    kind: str
    picture: Image.Image
    source: str
    target: str
    edit: SceneEdit | None
    """The scene that the picture shows and what it should become; None where it shows none."""
    wrong: str = ""
    """The attribute that the sentence has wrong, where it is one."""

    def outcome(self, reading: Reading) -> tuple[bool, bool]:
        """Whether the edit succeeded, and whether it preserved all else, as the judge reads it.

        Of a picture that shows no scene there is nothing to read: it did neither.
        """
        if self.edit is None:
            return False, False
        success, kept = judge_edit(self.edit, reading)
        return success, kept == 1


SHARE = 3
"""Right trials for each of another kind, as more of them decide what is usual."""


def trials(seed: int, count: int, kinds: Sequence[str]) -> Iterator[Trial]:
    """`count` trials of each kind and `SHARE` times as many right ones, of scenes from `seed` on.

    Every second picture that shows no scene is described briefly. Without scikit-image there are
    no photographs.
    """
    edits, photographs = scene_edits(SHARE * count + 1, seed), pictures.photographs()
    for n, edit in enumerate(edits[:-1]):
        for kind in kinds if n % SHARE == 0 else set(kinds) & {RIGHT}:
            plain = Trial(kind, render(edit.source), *edit.prompts, edit)
            if kind == WRONG[0]:
                yield _mistaken(plain, edits[n + 1])
            elif kind == WRONG[1]:
                yield _one_wrong(plain, edit, random.Random(f"{kind} {seed + n}"))
            elif kind != PHOTOGRAPH:
                found = spoilt(plain, kind, seed + n)
                yield found if found.edit is not None else _described(found, edit, n)
            elif photographs:
                path = photographs[n // SHARE % len(photographs)]
                picture = pictures.photograph(path, random.Random(f"{kind} {seed + n}"))
                yield _described(replace(plain, picture=picture, edit=None), edit, n)


def spoilt(trial: Trial, kind: str, seed: int) -> Trial:
    """A trial whose picture is spoilt, or replaced by a foreign one, as its kind says."""
    rng = random.Random(f"{kind} {seed}")
    if kind in pictures.SPOILT:
        return replace(trial, kind=kind, picture=pictures.SPOILT[kind](trial.picture, rng))
    if kind in pictures.FOREIGN:
        return replace(trial, kind=kind, picture=pictures.FOREIGN[kind](rng), edit=None)
    return replace(trial, kind=kind)


def _described(trial: Trial, edit: SceneEdit, n: int) -> Trial:
    """Every second one as people do at first, "a cat": the creature, and what is to change."""
    if n % 2:
        return trial
    kept = {"kind"} | edit.changed.keys()
    if kept & {"count", "thing_color"}:
        kept |= {"thing"}
    plain = {name: value for name, value in PLAIN.items() if name not in kept}
    source, target = (
        caption(scene.but(**plain), omitted=set(OPTIONAL) - kept)
        for scene in (edit.source, edit.target)
    )
    return replace(trial, source=source, target=target)


def _mistaken(trial: Trial, other: SceneEdit) -> Trial:
    """Described, and to be edited, as if it showed another scene."""
    assert trial.edit is not None
    source, target = other.prompts
    changes = {name: after for name, (_, after) in other.changed.items()}
    try:
        wanted = SceneEdit(trial.edit.source, trial.edit.source.but(**changes), other.category)
    except ValueError:  # it asks for three of things that the picture does not have
        wanted = None
    return replace(trial, source=source, target=target, edit=wanted)


def _one_wrong(trial: Trial, edit: SceneEdit, rng: random.Random) -> Trial:
    """One attribute that is said and does not change is said wrongly, in both sentences."""
    omitted = omitted_fields(edit.source.seed) - edit.changed.keys()
    both = set(fields_said(edit.source)) & set(fields_said(edit.target))
    said = {name for name in both if getattr(edit.source, name) != PLAIN.get(name)}
    free = said - edit.decided - {"count"}
    omitted = omitted if free - omitted else set()
    name = rng.choice(sorted(free - omitted))
    values = [v for v in VALUES[name] if v not in ("none", getattr(edit.source, name))]
    value = rng.choice(values)

    def lie(scene: Scene) -> str:
        return caption(scene.but(**{name: value}), omitted=omitted)

    return replace(trial, source=lie(edit.source), target=lie(edit.target), wrong=name)
