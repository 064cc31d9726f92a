"""The benchmark sets, one reader each, giving one kind of case.

- `toypie`: rendered on the spot, with true edits and exact masks (`counterflow.bench.sets.toypie`);
- a folder in PIE-Bench's format (`counterflow.bench.sets.pie`); one that `toybox cases` wrote also
  knows its scenes and true pictures;
- a YAML list like FlowEdit's (`counterflow.bench.sets.flowedit`): several targets for each picture,
  and no masks.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from counterflow import images
from counterflow.bench.sets import flowedit, pie, toypie
from counterflow.errors import InputError
from counterflow.files import inside
from counterflow.outside import Record
from counterflow.toybox.edits import CATEGORIES, SceneEdit
from counterflow.toybox.render import render
from counterflow.toybox.scene import Scene, check_fresh

TOYPIE = "toypie"
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Case:
    """One edit of one picture. Small: pictures and masks are made when they are asked for."""

    name: str
    """Unique in its set and safe as a file name."""
    category: str
    """Such as "change object"; empty where the set has none."""
    source: str
    target: str
    """Both prompts, as a model gets them."""
    group: str
    """Equal for cases of one picture and source prompt, which one inversion serves."""
    image: Path | None = None
    """The picture's file; None for a rendered scene."""
    edit: SceneEdit | None = None
    """The true scenes, where the set knows them, for the judge."""
    annotation: pie.PieCase | None = None
    """The item of a PIE-Bench folder that the case was read from."""
    truth_image: Path | None = None
    """The true edited picture's file; None where there is none or it is rendered."""

    @property
    def mask(self) -> np.ndarray | None:
        """Bool `[height, width]` of the picture, True where the edit may change it.

        None where the set has no masks. It may be all True, and then there is no background to
        measure. Raises InputError as `picture` does.
        """
        if self.annotation is not None:
            return pie.fitted(self.annotation.mask, self.picture().size)
        return None if self.edit is None else self.edit.mask()

    def picture(self) -> Image.Image:
        """The picture to edit, RGB. Raises InputError if its file cannot be read."""
        if self.image is not None:
            return images.load(self.image)
        if self.edit is None:
            raise InputError(f"case {self.name} has neither a picture nor a scene")
        return render(self.edit.source)

    def truth(self) -> Image.Image | None:
        """The true edited picture, RGB, where the set knows it. Raises as `picture` does."""
        if self.truth_image is not None:
            return images.load(self.truth_image)
        return None if self.edit is None else render(self.edit.target)


def read(
    what: str | Path,
    seed: int = toypie.SEED,
    per_category: int | None = None,
    limit: int | None = None,
    profile: pie.Profile = "pie-compat",
) -> list[Case]:
    """The cases of a benchmark, the categories in turn, so that any number of them is balanced.

    `what` is `"toypie"`, a folder with mapping_file.json, a YAML list or a folder with one such
    list. `per_category` bounds each category and `limit` the whole, which is then the beginning
    of the unbounded. `seed` is ToyPIE's first; ToyPIE has 40 cases of each category unless
    `per_category` says otherwise. `profile` is how PIE-Bench's format is read; it is the same for
    rendered scenes, whose masks are exact.

    Raises InputError, naming the item and the index, for anything malformed, what leaves the
    folder, seeds that a model was trained on, and a set without cases.
    """
    for name, value in (("per_category", per_category), ("limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{name} is 1 or more, not {value}")
    pie.check_profile(profile)
    if what == TOYPIE:
        cases = _rendered(seed, per_category or toypie.PER_CATEGORY)
    else:
        try:
            cases = _on_disk(Path(what), profile)
        except OSError as error:  # no leave to look into a folder
            raise InputError(f"{what} cannot be read ({error.strerror}); check it") from None
    if not cases:
        raise InputError(f"{what} holds no cases; give a set that does")
    return in_turn(cases, per_category)[:limit]


def label(what: str | Path) -> str:
    """A set's name for records: `toypie`, or a file's or folder's name with a digest of its list.

    The same wherever the set lies, and another one if its list has changed.
    """
    if what == TOYPIE:
        return TOYPIE
    path = Path(what)
    if path.name == pie.MAPPING:
        path = path.parent
    lists = [path / pie.MAPPING, path, *sorted(p for e in YAML for p in path.glob(f"*{e}"))]
    listed = next(p for p in lists if p.is_file())
    return f"{path.resolve().name}@{hashlib.sha256(listed.read_bytes()).hexdigest()[:12]}"


def in_turn(cases: Sequence[Case], per_category: int | None = None) -> list[Case]:
    """The first case of each category, in PIE-Bench's order of them, then the second, and so on."""
    order = {name: place for place, name in enumerate(CATEGORIES.values())}
    seen: Counter[str] = Counter()
    ranked = []
    for case in cases:
        ranked.append(((seen[case.category], order.get(case.category, len(order))), case))
        seen[case.category] += 1
    ranked.sort(key=lambda one: one[0])
    return [case for (rank, _), case in ranked if per_category is None or rank < per_category]


def _rendered(seed: int, per_category: int) -> list[Case]:
    count = per_category * len(CATEGORIES)
    check_fresh(seed, count)
    return [rendered(edit) for edit in toypie.scene_edits(count, seed)]


def rendered(edit: SceneEdit) -> Case:
    """The case of an edit of a scene, whose pictures are drawn."""
    name = toypie.case_id(edit)
    return Case(name, CATEGORIES[edit.category], *edit.prompts, name, edit=edit)


def _on_disk(path: Path, profile: pie.Profile) -> list[Case]:
    if path.name == pie.MAPPING:
        path = path.parent
    if (path / pie.MAPPING).is_file():
        return _annotated(path, profile)
    if path.suffix.lower() in YAML:
        return _listed(path)
    lists = sorted(p.name for p in path.glob("*.*") if p.suffix.lower() in YAML)
    if len(lists) > 1:
        raise InputError(f"{path} holds {', '.join(lists)}; name the one to read")
    if not lists:
        raise InputError(
            f"no benchmark at {path}: give {TOYPIE!r}, a folder with {pie.MAPPING} or a YAML list"
        )
    return _listed(inside(path, lists[0]))


def _listed(path: Path) -> list[Case]:
    home = path.parent
    return [
        Case(one.id, "", one.source, one.target, _group(home, one.image, one.source), one.image)
        for one in flowedit.read(path)
    ]


def _annotated(folder: Path, profile: pie.Profile) -> list[Case]:
    scenes = _scenes(folder)
    cases, names = [], {"method"}  # a file of ours in the folder of a method's results
    for item in pie.read(folder, profile):
        if not re.fullmatch(r"\w[\w.-]{0,99}", item.id, re.ASCII) or item.id.lower() in names:
            raise InputError(
                f"item {item.id} cannot name a file of its own; "
                "use letters, digits, dots, hyphens and underscores"
            )
        names.add(item.id.lower())
        edit = None if scenes is None else _edit(scenes, item)
        group = _group(folder, item.image, item.source)
        category = CATEGORIES[item.category]
        truth = None if edit is None else _truth(folder, item)
        cases.append(
            Case(item.id, category, item.source, item.target, group, item.image, edit, item, truth)
        )
    return cases


def _group(folder: Path, image: Path, source: str) -> str:
    """A name for a picture and its prompt, safe as a file's, that is the same wherever they lie."""
    where = image.relative_to(folder.resolve()).as_posix()
    return hashlib.sha256(f"{where}\0{source}".encode()).hexdigest()[:16]


class _Pair(Record):
    """Both scenes of an item."""

    source: dict[str, str | int]
    target: dict[str, str | int]


class _Scenes(Record):
    """What `toybox cases` knows of its items, by their ids."""

    scenes: dict[str, _Pair]


def _scenes(folder: Path) -> dict[str, _Pair] | None:
    """Both scenes of each item by id, in a folder that `toybox cases` wrote."""
    if not (folder / toypie.SCENES).is_file():
        return None
    return _Scenes.read(inside(folder, toypie.SCENES), "write it again").scenes


def _edit(scenes: dict[str, _Pair], item: pie.PieCase) -> SceneEdit:
    try:
        pair = scenes[item.id]
        before, after = (Scene.from_dict(each) for each in (pair.source, pair.target))
        for scene in (before, after):
            check_fresh(scene.seed, 1)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"item {item.id}: {toypie.SCENES} has no sound scenes of it ({error}); write it again"
        ) from None
    return SceneEdit(before, after, item.category)


def _truth(folder: Path, item: pie.PieCase) -> Path:
    image = item.image.relative_to(inside(folder, pie.IMAGES))
    return inside(inside(folder, toypie.TRUTHS), str(image))
