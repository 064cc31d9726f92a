"""ToyPIE: its folder, its instructions, and the cases that every machine must give."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterflow.bench.sets import pie, toypie
from counterflow.bench.sets.toypie import scene_edits
from counterflow.controls.align import changed_words
from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES, SceneEdit
from counterflow.toybox.render import render
from counterflow.toybox.scene import Scene


def test_toypie_is_pie_benchs_format(tmp_path: Path) -> None:
    """The reader reads what was written; the truth, the scenes and the mask belong together."""
    written = toypie.write_cases(tmp_path / "t", seed=77, per_category=2)
    read = pie.read(tmp_path / "t", "corrected")
    told = json.loads((tmp_path / "t" / "scenes.json").read_text())
    assert told["seed"] == 77 and len(read) == len(written) == 20
    assert sorted(case.category for case in read) == sorted([*range(10)] * 2)
    for case in read:
        source, target = (Scene.from_dict(told["scenes"][case.id][k]) for k in ("source", "target"))
        with Image.open(case.image) as picture:
            assert picture.tobytes() == render(source).tobytes()
        relative = case.image.relative_to(tmp_path / "t" / "annotation_images")
        with Image.open(tmp_path / "t" / "truth_images" / relative) as truth:
            assert truth.tobytes() == render(target).tobytes()
        before, after = (np.asarray(render(s), int) for s in (source, target))
        changed = np.kron(np.abs(before - after).max(-1) > 8, np.ones((4, 4), bool))
        assert case.mask[changed].all() and changed.any()
        assert case.instruction.startswith(("change the ", "add ", "remove "))
        drawn = next(w for w in written if (w.source, w.target) == (source, target))
        assert drawn.prompts == (case.source, case.target)
        if case.blended:
            assert case.blended[0] in case.source and case.blended[1] in case.target


def test_toypie_brackets_what_changes(tmp_path: Path) -> None:
    toypie.write_cases(tmp_path, seed=5, per_category=1)
    for item in json.loads((tmp_path / "mapping_file.json").read_text()).values():
        assert "[" in item["editing_prompt"] or "[" in item["original_prompt"]
    assert toypie.bracketed("a red cat sits", [(2, 5), (6, 9)]) == "a [red cat] sits"
    assert toypie.bracketed("a red cat", []) == "a red cat"
    spans = changed_words("a red cat", "a blue cat at night")
    assert toypie.bracketed("a blue cat at night", spans) == "a [blue] cat [at night]"


def test_toypie_is_the_same_every_time(tmp_path: Path) -> None:
    """Two runs write the same bytes; the size changes pictures and not which cases there are."""
    for name, size in (("one", 128), ("two", 128), ("large", 512)):
        toypie.write_cases(tmp_path / name, seed=9, per_category=1, size=size)
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert len(files) == 22
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    small, large = (pie.read(tmp_path / name) for name in ("one", "large"))
    for a, b in zip(small, large, strict=True):
        assert (a.id, a.source, a.target, a.category) == (b.id, b.source, b.target, b.category)
        assert (a.mask == b.mask).mean() > 0.97
        with Image.open(b.image) as picture:
            assert picture.size == (512, 512)


def test_toypie_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="not an empty folder"):
        toypie.write_cases(tmp_path, per_category=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_instructions() -> None:
    base = Scene(thing="none", hat="none", letter="none", color="red")
    cup = {"thing": "cup", "count": 2, "thing_color": "orange"}
    told = {
        "change the color from red to blue": (base, base.but(color="blue")),
        "add two orange cups": (base, base.but(**cup)),
        "remove two orange cups": (base.but(**cup), base),
        "add an orange hat": (base, base.but(hat="orange")),
        "remove a sign saying T": (base.but(letter="T"), base),
        "change the color of the cup from orange to red": (
            base.but(**cup),
            base.but(**cup | {"thing_color": "red"}),
        ),
    }
    for words, pair in told.items():
        assert toypie.instruction(SceneEdit(*pair, 0)) == words
    both = toypie.instruction(SceneEdit(base, base.but(color="pink", arms="up"), 0))
    assert sorted(both.split(" and ")) == [
        "change the arms from down to up",
        "change the color from red to pink",
    ]


def test_the_shipped_benchmark() -> None:
    """Forty cases of each of ten kinds, and a digest of them that every machine must give."""
    drawn = scene_edits(400, toypie.SEED)
    counts = {category: 0 for category in CATEGORIES}
    digest = hashlib.sha256()
    for case in drawn:
        counts[case.category] += 1
        digest.update("|".join(case.prompts).encode())
    for case in drawn[:60]:
        digest.update(render(case.source).tobytes() + render(case.target).tobytes())
        digest.update(case.mask().tobytes())
    digest.update(render(drawn[3].target, 512).tobytes())
    assert set(counts.values()) == {40} and len(counts) == 10
    assert digest.hexdigest() == SHIPPED


SHIPPED = "bfb9992d31143165d6faac2a4803d1c4fe427c14564f2219279a39e910e043b2"
