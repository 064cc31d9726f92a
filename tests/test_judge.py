"""The judge, what is counted with it, and ToyPIE's folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from counterflow.backbones.sd3 import SD3
from counterflow.bench import pie, toypie
from counterflow.bench.gallery import draw_gallery
from counterflow.bench.judged import judge_edit, obey, stacked, summarise_obeyed
from counterflow.bench.measure import cases
from counterflow.controls.align import changed_words
from counterflow.edit.editor import Editor
from counterflow.edit.settings import InvertSettings
from counterflow.errors import InputError, ModelError
from counterflow.toybox import judge
from counterflow.toybox.edits import CATEGORIES, SceneEdit, draw_edit
from counterflow.toybox.judge import Reading, Verdict, right
from counterflow.toybox.render import render
from counterflow.toybox.scene import VALUES, Scene, fields_said, sample
from counterflow.toybox.train.judge import UNSAID, disturb, labels

SEEDS = st.integers(0, 10**6)


def perfect(scene: Scene) -> Reading:
    """What a judge without fault reads."""
    return {name: Verdict(getattr(scene, name), 1.0) for name in fields_said(scene)}


def test_the_bundled_judge_reads_renders() -> None:
    """On fresh renders, at the model's size and larger, nearly every field is right."""
    scenes = [sample(600_000 + i) for i in range(60)]
    for size in (128, 256):
        readings = judge.load().read([render(scene, size) for scene in scenes])
        found = [right(scene, reading) for scene, reading in zip(scenes, readings, strict=True)]
        hits = [ok for fields in found for ok in fields.values()]
        assert sum(hits) / len(hits) > 0.96, size


def test_its_accuracy_is_on_record() -> None:
    """97 % or better for every field, on held-out renders and on round trips of them."""
    for what in ("renders", "round_trips"):
        told = judge.accuracy()[what]
        assert set(told) == set(VALUES)
        assert min(told.values()) >= 0.97, (what, told)


def test_no_judge_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no judge"):
        judge.load(tmp_path)


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_what_is_right(seed: int) -> None:
    """A perfect reading is right everywhere; one changed field is wrong there alone."""
    scene = sample(seed)
    reading = perfect(scene)
    assert all(right(scene, reading).values())
    for name in fields_said(scene):
        other = next(v for v in VALUES[name] if v != getattr(scene, name))
        wrong = right(scene, reading | {name: Verdict(other, 1.0)})
        assert [k for k, ok in wrong.items() if not ok] == [name]


@given(SEEDS, st.sampled_from(list(CATEGORIES)))
@settings(max_examples=80, deadline=None)
def test_success_and_kept_of_an_edit(seed: int, category: int) -> None:
    """The truth succeeds and keeps all; the source fails and keeps all; a spoilt field counts."""
    case = draw_edit(sample(seed), category, seed)
    assert judge_edit(case, perfect(case.target)) == (True, 1.0)
    success, kept = judge_edit(case, perfect(case.source))
    assert not success and kept == 1.0
    assert set(case.changed) <= case.decided
    spoilt = "background" if "background" not in case.changed else "kind"
    other = next(v for v in VALUES[spoilt] if v != getattr(case.target, spoilt))
    success, kept = judge_edit(case, perfect(case.target) | {spoilt: Verdict(other, 1.0)})
    still = [name for name in fields_said(case.target) if name not in case.decided]
    assert success and kept == pytest.approx(1 - 1 / len(still))


def test_labels_leave_out_what_a_scene_has_not() -> None:
    bare, full = Scene(thing="none"), Scene(thing="cup", count=2, thing_color="blue")
    places = {name: k for k, name in enumerate(VALUES)}
    rows = labels([bare, full])
    assert rows[0, places["count"]] == rows[0, places["thing_color"]] == UNSAID
    for k, (name, values) in enumerate(VALUES.items()):
        assert values[rows[1, k]] == getattr(full, name)


def test_disturbances_are_small_and_repeatable() -> None:
    x = torch.rand(6, 3, 128, 128) * 2 - 1
    a, b = (disturb(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, x)
    flat = torch.zeros(6, 3, 128, 128)
    assert disturb(flat, torch.Generator().manual_seed(3)).std() < 0.07


def test_obeying_is_what_generate_makes(tiny: SD3) -> None:
    """Batched pictures are `generate`'s, to rounding; the figures are the readings' own."""
    editor = Editor(tiny)
    made = obey(editor, judge.load(), 3, 50, steps=2, guidance=2.0, batch=2)
    from counterflow.toybox.captions import caption

    for i, one in enumerate(made):
        alone, _ = editor.generate(caption(sample(50 + i)), 2, 2.0, 50 + i)
        difference = np.abs(np.asarray(one.picture, int) - np.asarray(alone, int))
        assert difference.max() <= 1
    figures = summarise_obeyed(made)
    assert set(figures["fields"]) == set(VALUES)
    wrong = sum(bool(one.wrong) for one in made)
    assert figures["all right"] == pytest.approx(1 - wrong / 3)
    assert len(figures["wrong"]) == wrong
    for name, row in figures["fields"].items():
        hits = [one.right[name] for one in made if name in one.right]
        assert row["pictures"] == len(hits)
        assert row["accuracy"] == (pytest.approx(np.mean(hits)) if hits else None)


def test_stacked_prompts_are_a_batch(tiny: SD3) -> None:
    one, other = tiny.embed("a red cat"), tiny.embed("a blue dog at night")
    both = stacked([one, other])
    for name, rows in both.tensors.items():
        assert torch.equal(rows[:1], one.tensors[name])
        assert torch.equal(rows[1:], other.tensors[name])


def test_the_gallery_has_a_row_for_each_kind(tiny: SD3, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterflow.bench import gallery

    monkeypatch.setattr(gallery, "InvertSettings", lambda: InvertSettings(steps=1, iterations=0))
    drawn, good, count = draw_gallery(Editor(tiny), judge.load(), 70, columns=1, width=100)
    assert count == len(CATEGORIES) == 10 and 0 <= good <= 10
    assert drawn.width > 300 and drawn.height > 10 * 100


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


def test_an_added_thing_is_judged_whole() -> None:
    """A red apple is asked for: its count and colour are decided although they equal a blank's."""
    bare = Scene(thing="none")
    case = SceneEdit(bare, bare.but(thing="apple", count=1, thing_color="red"), 2)
    assert case.changed.keys() == {"thing"}
    assert case.decided == {"thing", "count", "thing_color"}
    asked = perfect(case.target)
    assert judge_edit(case, asked) == (True, 1.0)
    assert judge_edit(case, asked | {"count": Verdict(3, 1.0)}) == (False, 1.0)


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
    drawn = cases(400, toypie.SEED)
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
