"""The engine: figures that the pictures confirm, costs, and what an error stops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterflow.backbones.sd3 import SD3
from counterflow.bench.engine import Attempt, Condition, Engine, Outcome, condition, judge_edit
from counterflow.bench.figures import FIGURES, QUALITY, RECONSTRUCTION, averaged
from counterflow.bench.sets.cases import Case, rendered
from counterflow.bench.sets.toypie import scene_edits
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.metrics import mse, psnr
from counterflow.metrics.table import METRICS, PROFILES, measure
from counterflow.toybox import judge
from counterflow.toybox.edits import CATEGORIES
from metric_networks import all_networks, noise

QUICK = condition("ftedit", steps=2, iterations=1)


def outcomes(engine: Engine, cases: list[Case], *conditions: Condition) -> list[Outcome]:
    """Every case under every condition, an inversion each."""
    return [
        outcome
        for case in cases
        for outcome in engine.run(tuple(Attempt(case, each) for each in conditions))
    ]


def test_measured_figures(tiny: SD3) -> None:
    """One case of each category, its cost, and figures that the pictures confirm."""
    editor = Editor(tiny)
    cases = [rendered(edit) for edit in scene_edits(len(CATEGORIES), 40)]
    assert [case.category for case in cases] == list(CATEGORIES.values())
    made = outcomes(Engine(editor, judge.load()), cases, QUICK)
    for case, outcome in zip(cases, made, strict=True):
        figures = outcome.figures
        assert outcome.error is None and outcome.picture is not None and case.edit is not None
        assert figures["forwards"] == 4 + 6
        mask = case.edit.mask()
        pictures = (case.picture(), case.truth(), outcome.picture)
        source, truth, result = (np.asarray(picture) for picture in pictures)
        assert figures["PSNR"] == psnr(source, result, ~mask)
        inversion = editor.invert(case.picture(), case.source, QUICK.method)
        round_trip = np.asarray(editor.round_trip(inversion))
        assert figures["round trip"] == psnr(source, round_trip, ~mask)
        near, far = mse(result, truth, mask), mse(result, source, mask)
        whole = mse(source, truth, mask)
        assert near is not None and far is not None and whole
        assert figures["moved"] == float(near < far)
        assert figures["distance"] == pytest.approx(near / whole)
        reading = next(judge.load().read([outcome.picture]))
        assert (figures["success"], figures["kept"]) == judge_edit(case.edit, reading)
        assert set(figures) <= set(FIGURES) and not set(figures) & set(RECONSTRUCTION)
    moved, distance = (
        [outcome.figures[name] for outcome in made] for name in ("moved", "distance")
    )
    assert averaged("moved", moved).estimate == pytest.approx(np.mean(moved))
    assert averaged("distance", distance).estimate == pytest.approx(np.median(distance))


def test_round_trip_in_the_papers_profile(tiny: SD3) -> None:
    """It is the PSNR of the profile, to be compared with; None where no background is left."""
    case, whole = (rendered(edit) for edit in (scene_edits(10, 40)[0], scene_edits(10, 40)[8]))
    editor = Editor(tiny)
    one, other = outcomes(Engine(editor, profile="pie-compat"), [case, whole], QUICK)
    trip = np.asarray(editor.round_trip(editor.invert(case.picture(), case.source, QUICK.method)))
    assert case.mask is not None and whole.mask is not None and whole.mask.all()
    expected = measure(np.asarray(case.picture()), trip, case.mask, "pie-compat")["PSNR"]
    assert one.figures["round trip"] == expected
    assert other.figures["round trip"] is None


def test_a_reconstruction_has_its_own_figures(tiny: SD3) -> None:
    """Exact with compensation whatever the inversion left; guided as it was inverted."""
    case = rendered(scene_edits(1, 40)[0])
    settings = {"steps": 3, "iterations": 0, "invert_guidance": 1.5}
    both = [condition("ftedit", each, **settings) for each in (True, False)]
    editor = Editor(tiny)
    exact, plain = outcomes(Engine(editor), [case], *both)
    assert exact.figures["largest"] < 1e-5 < plain.figures["largest"]  # type: ignore[operator]
    assert exact.figures["latent"] < 1e-5 < plain.figures["latent"]  # type: ignore[operator]
    assert exact.figures["residual"] > 0 and plain.figures["residual"] is None  # type: ignore[operator]
    assert exact.figures["forwards"] == plain.figures["forwards"] == 3 * 2
    inversion = editor.invert(case.picture(), case.source, both[1].method)
    again = editor.reconstruct(inversion, compensate=False)
    trip = np.asarray(editor.round_trip(inversion))
    assert plain.figures["largest"] == pytest.approx(again.latent_error)
    assert plain.figures["reconstruction PSNR"] == psnr(np.asarray(again.image), trip)
    assert set(plain.figures) == {*RECONSTRUCTION, "forwards"}


def test_an_inversion_is_shared_and_costs_are_those_of_a_condition_alone(
    tiny: SD3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal inversions are made once; what one condition left does not make the next cheaper."""
    editor, case = Editor(tiny), rendered(scene_edits(1, 40)[0])
    conditions = [
        condition("ftedit", True, steps=2, iterations=1),
        QUICK,
        condition("ftedit", steps=2, iterations=1, compensate="both"),
        condition("fixed-point", steps=2, iterations=1),
    ]
    assert len({each.method.sharing_key for each in conditions}) == 1
    alone = [outcomes(Engine(editor), [case], each)[0] for each in conditions]
    inverted = []
    invert = editor.invert
    monkeypatch.setattr(editor, "invert", lambda *a, **k: inverted.append(a) or invert(*a, **k))
    together = outcomes(Engine(editor), [case], *conditions)
    assert len(inverted) == 1
    for one, other in zip(alone, together, strict=True):
        assert one.figures["forwards"] == other.figures["forwards"]
        assert np.array_equal(np.asarray(one.picture), np.asarray(other.picture))


def test_what_records_shares_with_nothing() -> None:
    """DirectEdit takes features from its own inversion, Euler's though it is."""
    recording, euler = condition("directedit", steps=3), condition("euler", steps=3)
    assert recording.method.inversion == euler.method.inversion
    assert recording.method.sharing_key != euler.method.sharing_key


def test_names_of_conditions() -> None:
    """Equal settings give equal names, however they are given; others give others."""
    assert condition("ftedit", steps=30, text_ratio=1.0) == condition("ftedit")
    assert condition("ftedit").name == "ftedit"
    changed = condition("ftedit", text_ratio=0.5, steps=5, average=False)
    assert changed.name == "ftedit,steps=5,average=false,text_ratio=0.5"
    names = {condition("ftedit", each, steps=5).name for each in (None, True, False)}
    assert len(names) == 3


def test_an_error_stops_what_depends_on_it(tiny: SD3, tmp_path: Path) -> None:
    """A picture that is not there stops its task; settings that do not fit stop one edit."""
    engine, case = Engine(Editor(tiny)), rendered(scene_edits(1, 40)[0])
    broken = Case("gone", "", "a cat", "a dog", "gone", tmp_path / "no.png")
    (gone,) = outcomes(engine, [broken], QUICK)
    assert gone.error is not None and "no.png" in gone.error and not gone.figures
    unfit = condition("ftedit", steps=2, iterations=1, text_words={"zebra": 0.4})
    first, second = outcomes(engine, [case], unfit, QUICK)
    assert first.error is not None and "zebra" in first.error and first.picture is None
    assert second.error is None and second.picture is not None
    with pytest.raises(InputError, match="magic"):
        condition("magic")


def test_directions() -> None:
    """A slight disturbance is better than a strong one, by each metric of two pictures."""
    networks, rng, a = all_networks(), np.random.default_rng(0), noise(64, 64)
    near, far = (
        np.clip(a + rng.normal(0, sigma, a.shape), 0, 255).astype(np.uint8) for sigma in (4, 90)
    )
    mask = np.zeros((64, 64), bool)
    mask[:20] = True
    for profile in PROFILES:
        better, worse = (measure(a, x, mask, profile, networks=networks) for x in (near, far))
        for metric in METRICS[:5]:
            one, other = better[metric.name], worse[metric.name]
            higher = FIGURES[metric.name].better == "higher"
            assert one is not None and other is not None and (one > other) == higher


def test_every_metric_is_a_figure_of_edits() -> None:
    assert {metric.name for metric in METRICS} <= set(QUALITY)
