"""The judge, and what is counted with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterflow.bench.engine import judge_edit
from counterflow.errors import ModelError
from counterflow.toybox import judge
from counterflow.toybox.edits import CATEGORIES, SceneEdit, draw_edit
from counterflow.toybox.judge import Prediction, Reading, right
from counterflow.toybox.render import render
from counterflow.toybox.scene import VALUES, Scene, fields_said, sample
from counterflow.toybox.train.judge import IGNORE_INDEX, disturb, labels

SEEDS = st.integers(0, 10**6)


def perfect(scene: Scene) -> Reading:
    """What a judge without fault reads."""
    return {name: Prediction(getattr(scene, name), 1.0) for name in fields_said(scene)}


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
        wrong = right(scene, reading | {name: Prediction(other, 1.0)})
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
    success, kept = judge_edit(case, perfect(case.target) | {spoilt: Prediction(other, 1.0)})
    still = [name for name in fields_said(case.target) if name not in case.decided]
    assert success and kept == pytest.approx(1 - 1 / len(still))


def test_labels_leave_out_what_a_scene_has_not() -> None:
    bare, full = Scene(thing="none"), Scene(thing="cup", count=2, thing_color="blue")
    places = {name: k for k, name in enumerate(VALUES)}
    rows = labels([bare, full])
    assert rows[0, places["count"]] == rows[0, places["thing_color"]] == IGNORE_INDEX
    for k, (name, values) in enumerate(VALUES.items()):
        assert values[rows[1, k]] == getattr(full, name)


def test_disturbances_are_small_and_repeatable() -> None:
    x = torch.rand(6, 3, 128, 128) * 2 - 1
    a, b = (disturb(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, x)
    flat = torch.zeros(6, 3, 128, 128)
    assert disturb(flat, torch.Generator().manual_seed(3)).std() < 0.07


def test_an_added_thing_is_judged_whole() -> None:
    """A red apple is asked for: its count and colour are decided although they equal a blank's."""
    bare = Scene(thing="none")
    case = SceneEdit(bare, bare.but(thing="apple", count=1, thing_color="red"), 2)
    assert case.changed.keys() == {"thing"}
    assert case.decided == {"thing", "count", "thing_color"}
    asked = perfect(case.target)
    assert judge_edit(case, asked) == (True, 1.0)
    assert judge_edit(case, asked | {"count": Prediction(3, 1.0)}) == (False, 1.0)
