"""Figures of trust, against closed forms, scipy and values by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from counterflow.bench.stats import bounds
from counterflow.bench.trust.calibrate import calibrate, evaluate, truth
from counterflow.bench.trust.measure import Row
from counterflow.bench.trust.population import KINDS, PLAIN, RIGHT, WRONG, trials
from counterflow.controls.blend import smoothed
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES
from counterflow.toybox.judge import Prediction
from counterflow.toybox.render import render
from counterflow.toybox.scene import fields_said, sample
from counterflow.trust.calibration import (
    CONTRADICTION,
    JUDGE,
    SURE,
    UNLIKE,
    Calibration,
    Places,
    Unlike,
    find,
)
from counterflow.trust.fit import LEVELS, SEED, fit
from counterflow.trust.logistic import FARTHEST, Logistic, Scale
from counterflow.trust.noise import noise_statistics
from counterflow.trust.report import (
    EXACT,
    UNKNOWN,
    Expectation,
    Report,
    assess,
    enlarged,
    figures,
    overall,
    sentence,
)
from counterflow.trust.scores import auc, calibration_error
from tools import SCENE, SOURCE, TARGETS, distance

RNG = np.random.default_rng


def white(seed: int = 0, side: int = 128) -> torch.Tensor:
    return torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(seed))


def test_white_noise_has_the_statistics_of_white_noise() -> None:
    """Within four standard errors, which are those the docstring gives."""
    x = white()
    n, found = x.numel(), noise_statistics(x)
    assert abs(found.mean) < 4 / math.sqrt(n)
    assert abs(found.variance - 1) < 4 * math.sqrt(2 / n)
    assert abs(found.kurtosis) < 4 * math.sqrt(24 / n)
    assert abs(found.autocorrelation) < 4 / math.sqrt(2 * n)
    assert found.kurtosis == pytest.approx(stats.kurtosis(x.double().numpy(), axis=None))


def test_shifted_and_scaled_noise() -> None:
    """Mean and variance follow; kurtosis and autocorrelation do not change."""
    x = white(1)
    plain, moved = noise_statistics(x), noise_statistics(3 * x + 2)
    assert moved.mean == pytest.approx(3 * plain.mean + 2, abs=1e-5)
    assert moved.variance == pytest.approx(9 * plain.variance, rel=1e-5)
    assert moved.kurtosis == pytest.approx(plain.kurtosis, abs=1e-4)
    assert moved.autocorrelation == pytest.approx(plain.autocorrelation, abs=1e-5)


def test_blurred_noise() -> None:
    """A mean of 3x3 leaves a ninth of the variance, and neighbours share six of nine cells."""
    x = white(2, 256)
    blurred = torch.cat([smoothed(x[:, c : c + 1]) for c in range(4)], 1)[..., 1:-1, 1:-1]
    found = noise_statistics(blurred)
    assert found.variance == pytest.approx(1 / 9, rel=0.03)
    assert found.autocorrelation == pytest.approx(2 / 3, abs=0.01)


def test_noise_of_other_distributions() -> None:
    uniform = noise_statistics(torch.rand(1, 4, 128, 128, generator=torch.Generator()))
    assert uniform.kurtosis == pytest.approx(-1.2, abs=0.03)
    assert uniform.variance == pytest.approx(1 / 12, rel=0.03)
    constant = noise_statistics(torch.full((1, 1, 4, 4), 0.5))
    assert (constant.mean, constant.variance) == (0.5, 0) and math.isnan(constant.kurtosis)


def test_auc() -> None:
    assert auc([0, 1], [2, 3]) == 1 and auc([2, 3], [0, 1]) == 0
    assert auc([1, 1], [1]) == 0.5 and auc([], [1]) is None
    a, b = RNG(0).normal(0, 1, 40).round(1), RNG(1).normal(1, 1, 30).round(1)
    expected = stats.mannwhitneyu(b, a).statistic / (40 * 30)
    assert auc(a.tolist(), b.tolist()) == pytest.approx(expected)


def test_calibration_error() -> None:
    """By hand: of four at .75 three are true (no error); of two at .15 both are (error .85)."""
    p, y = [0.75] * 4 + [0.15] * 2, [True, True, True, False, True, True]
    assert calibration_error(p, y) == pytest.approx(0.85 * 2 / 6)
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    assert calibration_error([], []) is None
    drawn = RNG(3).random(20_000)
    fair = calibration_error(drawn.tolist(), (RNG(4).random(20_000) < drawn).tolist())
    assert fair is not None and fair < 0.015


def test_logistic_regression_finds_what_the_outcomes_were_drawn_with() -> None:
    x = RNG(5).uniform(-3, 3, (20_000, 2))
    p = 1 / (1 + np.exp(-(0.5 + 1.5 * x[:, 0] - 0.7 * x[:, 1] + 0.4 * x[:, 0] * x[:, 1])))
    outcomes = (RNG(6).random(len(x)) < p).tolist()
    rows = [{"a": float(a), "b": float(b)} for a, b in x]
    made = Logistic.fit(Scale(("a", "b"), (0, 0), (1, 1)), rows, outcomes)
    assert made.bias == pytest.approx(0.5, abs=0.12)
    assert made.weights == pytest.approx((1.5, -0.7, 0, 0.8, 0), abs=0.12)
    assert made(rows).mean() == pytest.approx(np.mean(outcomes), abs=1e-3)


def test_equal_outcomes_and_parted_ones_have_finite_weights() -> None:
    rows = [{"a": float(n)} for n in range(20)]
    scale = Scale.of(["a"], rows)
    assert (Logistic.fit(scale, rows, [True] * 20)(rows) > 0.9).all()
    parted = Logistic.fit(scale, rows, [n >= 10 for n in range(20)])
    assert math.isfinite(parted.weights[0]) and parted([{"a": 19.0}])[0] > 0.9


def test_a_scale() -> None:
    """Median and median distance; one figure that is far off, or none, decides nothing alone."""
    rows = [{"a": float(n)} for n in (1, 2, 3, 4, 1000)]
    scale = Scale.of(["a"], rows)
    assert scale.centre == (3,) and scale.spread[0] == pytest.approx(1.4826)
    assert scale([{"a": 1e9}])[0, 0] == FARTHEST and scale([{"a": math.nan}])[0, 0] == 0


def test_places_are_shares() -> None:
    places = Places.of([float(n) for n in range(101)])
    assert [places(v) for v in (-1, 0, 25, 100, 101)] == pytest.approx([0, 0, 0.25, 1, 1])
    assert [places.beyond(v) for v in (2, 50, 98, 146)] == pytest.approx([-1, 0, 1, 2])


def test_unlike_is_about_the_mahalanobis_distance() -> None:
    x = RNG(7).multivariate_normal([1, 2], [[1, 0.8], [0.8, 1]], 5000)
    rows = [{"a": float(a), "b": float(b)} for a, b in x]
    unlike = Unlike.of(["a", "b"], rows)
    along, across = unlike([{"a": 3.0, "b": 4.0}, {"a": 3.0, "b": 0.0}])
    assert across > 2 * along, "the second lies across what varies together"
    assert unlike.beyond({"a": 1.0, "b": 2.0}) < 0 and unlike.beyond({"a": 3.0, "b": 0.0}) > 1


def test_the_fit_is_the_error_of_the_velocity(one: Editor) -> None:
    """By hand at the first level; nothing of the inversion changes, and the rows are counted."""
    inversion = one.invert(render(SCENE), SOURCE, "paired")
    made = fit(one, inversion, TARGETS)
    assert made.forwards == 2 * len(LEVELS) + len(TARGETS)
    image, s = inversion.image, LEVELS[0]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(SEED))
    x = (1 - s) * image + s * noise
    prompts = [inversion.conditioning, one.negative, *(one.backbone.embed(t) for t in TARGETS)]
    vs = [one.backbone.velocity(x, s, each) for each in prompts]
    errors = [((v - (noise - image)) ** 2).mean(1)[0] for v in vs]
    assert distance(made.source[0], errors[0]) < 1e-4 * errors[0].max()
    assert distance(made.empty[0], errors[1]) < 1e-4 * errors[0].max()
    assert distance(made.targets[1], errors[3]) < 1e-4 * errors[0].max()
    change = ((vs[2] - vs[0]) ** 2).mean(1)[0]
    assert distance(made.change[0], change) < 1e-3 * change.max()
    assert not inversion.features.kept and not inversion.residuals


def test_a_decoded_picture_has_a_bounded_round_trip(one: Editor) -> None:
    picture, trajectory = one.generate(SOURCE, steps=2, size=(64, 64))
    found = figures(one, one.from_trajectory(picture, SOURCE, trajectory))
    assert 0 < found.shared["round trip"] <= EXACT and found.targets == []


# Calibrations


def rows(count: int = 60) -> list[Row]:
    """Right rows about 0, whose edits succeed, and unlike ones about 9, whose edits fail."""
    made = []
    for n in range(count):
        for kind, place in ((RIGHT, 0.0), (WRONG[0], 0.0), ("noise", 9.0)):
            drawn = RNG([n, int(place), len(kind)]).normal(place, 1, 8)
            names = [f"{name} {level:g}" for name in ("error", "gain") for level in LEVELS]
            found = dict(zip((*names, "round trip", "change"), drawn.tolist(), strict=False))
            found["target gain"] = 0.0
            found[CONTRADICTION] = float(drawn[6]) + (9 if kind == WRONG[0] else 0)
            noise = {"noise mean": float(drawn[7])} if kind == RIGHT else {}
            good = kind == RIGHT
            found[JUDGE] = 9.0 - place
            made.append(Row(kind, found, noise, good, good))
    return made


def test_a_calibration_tells_what_it_was_made_of(tmp_path: Path) -> None:
    known = calibrate("toy@0123", rows(), "by hand", judged=True)
    known.write(tmp_path / "c.json")
    assert Calibration.read(tmp_path / "c.json").model == "toy@0123"
    found = evaluate(Calibration.read(tmp_path / "c.json"), rows())
    assert found["kinds"]["noise"]["AUC"] == 1 and found["kinds"][WRONG[0]]["AUC"] == 1
    assert found["kinds"]["noise"]["the judge's AUC"] == 1
    assert found["kinds"][RIGHT]["doubted"] < 0.1 and found["kinds"]["noise"]["doubted"] == 1
    success = found["probabilities"]["success, all"]
    assert success["AUC"] == 1 and success["calibration error"] < 0.07
    assert success["share"] == pytest.approx(1 / 3)
    assert known.chances(rows()[0].figures)[0] == SURE, "never certain"
    plain = calibrate("toy@0123", rows(), "by hand", judged=False)
    assert plain.chances(rows()[0].figures) == (None, None)
    assert evaluate(plain, rows())["probabilities"] == {}


def test_other_files_are_no_calibrations(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"version": 0}', '{"version": 2, "model": "a"}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(InputError, match="calibrate"):
            Calibration.read(tmp_path / "c.json")


def test_truth() -> None:
    found = truth([0.9, 0.9, 0.1, 0.1], [True, True, False, True])
    assert found["share"] == 0.75 and found["mean probability"] == 0.5
    assert found["calibration error"] == pytest.approx((0.2 + 0.8) / 4)
    assert found["AUC"] == pytest.approx(2.5 / 3)
    low, high = truth([0.9, 0.9, 0.1, 0.1] * 50, [True, True, False, True] * 50)["error, 95 %"]
    assert 0.15 < low < 0.25 < high < 0.35


def test_bounds_of_a_mean_are_those_of_its_standard_error() -> None:
    """A closed form: 1.96 standard deviations over the root of the count, each way."""
    values = np.random.default_rng(3).normal(size=200).tolist()
    low, high = bounds(lambda some: float(np.mean(some)), values) or (0, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(values) / 200**0.5, rel=0.1)
    assert bounds(lambda some: None, values) is None and bounds(sum, [1.0]) is None


SIZES = (128, 128), (128, 128), (128, 128)
REPORT = Report(True, 0.4, 0.5, [], {}, {}, "paired", *SIZES, 5)


@pytest.mark.parametrize(
    ("changes", "edit", "expected"),
    [
        ({}, (0.97, 0.95), "Expect success 97 %, preservation 95 %."),
        (
            {"picture": 2.0},
            (0.8, 0.07),
            "The picture is unlike what this model draws, and the edit is likely to change more "
            "than it should (success 80 %, preservation 7 %).",
        ),
        ({}, (0.3, 0.9), "The edit is likely to fail (success 30 %, preservation 90 %)."),
        (
            {"picture": 2.0, "sentence": 2.0},
            (0.12, 0.1),
            "The picture is unlike what this model draws, and the edit is likely to fail "
            "(success 12 %, preservation 10 %).",
        ),
        (
            {"sentence": 2.0},
            (0.7, 0.6),
            "Picture and source sentence do not fit each other; expect success 70 %, "
            "preservation 60 %.",
        ),
        ({"calibrated": False}, (None, None), UNKNOWN),
        ({}, (None, None), "Picture and sentence are of the kind that this model knows."),
        ({"picture": 2.0}, (None, None), "The picture is unlike what this model draws."),
        (
            {"worked": (144, 112)},
            (0.97, 0.95),
            "Expect success 97 %, preservation 95 % at 128x128.",
        ),
        (
            {"picture": 2.0},
            (None, None, ("helicopter", "pilot")),
            "The picture is unlike what this model draws, and this model never learned "
            "'helicopter' and 'pilot': what comes of the edit is not known.",
        ),
        (
            {},
            (None, None, ("helicopter",)),
            "This model never learned 'helicopter': what comes of the edit is not known.",
        ),
    ],
)
def test_the_sentence(changes: dict[str, Any], edit: tuple[Any, Any], expected: str) -> None:
    report = replace(REPORT, edits=[Expectation("a cat", *edit)], **changes)
    assert sentence(report) == expected
    assert sentence(report, 0, "paired") == expected
    for other in ("ftedit", "paired,steps=1"):
        named = "by paired as it comes" in sentence(report, 0, other)
        assert named == (edit[0] is not None), "of another method it names the one it knows"


def test_a_picture_that_the_model_decoded_is_not_unlike() -> None:
    """Its round trip is better than any; the usual one stands for it, and nothing else changes."""
    shipped = find("toybox@21ee633b197e")
    assert shipped is not None
    scale = shipped.picture.scale
    row = dict(zip(scale.names, scale.centre, strict=True))
    row |= {"contradiction": shipped.usual["contradiction"].values[25]}
    assert shipped.beyond(row | {"round trip": EXACT})[0] < 1
    assert shipped.beyond(row | {"round trip": 10.0})[0] > UNLIKE


def test_what_is_said_of_picture_and_sentence_alone() -> None:
    assert overall(replace(REPORT, calibrated=False)) == UNKNOWN
    assert overall(replace(REPORT, picture=UNLIKE)).startswith("The picture is unlike")
    assert overall(replace(REPORT, picture=UNLIKE - 0.01)).startswith("Picture and sentence are")


def test_enlarged() -> None:
    assert enlarged((512, 512), (128, 128)) == (
        "Edited at 128x128 and enlarged to 512x512: expect blur."
    )
    assert enlarged((128, 128), (128, 128)) == enlarged((64, 64), (128, 128)) == ""


def test_a_model_without_a_calibration(one: Editor) -> None:
    inversion = one.invert(render(SCENE), SOURCE, "euler", steps=2)
    report = assess(one, inversion, TARGETS)
    assert not report.calibrated and report.picture is None and report.places == {}
    assert [each.success for each in report.edits] == [None, None]
    assert report.figures and set(report.noise) == {
        f"noise {name}" for name in ("mean", "variance", "kurtosis", "autocorrelation")
    }


# The trials


def test_trials_of_each_kind() -> None:
    made = list(trials(60_000, 4, KINDS))
    counts = {kind: sum(each.kind == kind for each in made) for kind in KINDS}
    assert counts.pop(RIGHT) == 12 and set(counts.values()) == {4}, "with scikit-image"
    again = list(trials(60_000, 4, KINDS))
    assert all(
        a.picture == b.picture and a.source == b.source for a, b in zip(made, again, strict=True)
    )
    for each in made:
        assert each.picture.size == (128, 128) and each.picture.mode == "RGB"
        if each.kind == WRONG[1]:
            assert each.edit is not None and each.wrong not in each.edit.decided
            assert getattr(each.edit.source, each.wrong) != PLAIN.get(each.wrong)
            assert each.source != each.edit.prompts[0]


def test_what_shows_no_scene_is_described_at_length_and_briefly() -> None:
    made = [each.source.split() for each in trials(60_000, 4, ["cartoon"])]
    assert min(map(len, made)) <= 5 < max(map(len, made))
    assert all({"a", "an"} & set(each) for each in made)


def test_outcomes() -> None:
    """The judge's for a scene; a picture of none is no success whatever is read there."""
    (right, foreign) = (next(trials(60_000, 1, [kind])) for kind in (RIGHT, "noise"))
    assert right.edit is not None
    names = fields_said(right.edit.target)
    reading = {n: Prediction(getattr(right.edit.target, n), 1.0) for n in names}
    assert right.outcome(reading) == (True, True)
    kept = next(name for name in names if name not in right.edit.decided)
    assert right.outcome(reading | {kept: Prediction("other", 1.0)}) == (True, False)
    changed = next(name for name in names if name in right.edit.decided)
    assert right.outcome(reading | {changed: Prediction("other", 1.0)}) == (False, True)
    assert foreign.outcome(reading) == (False, False)
    assert right.edit.category in CATEGORIES and sample(60_000).seed == right.edit.source.seed


def test_nothing_is_known_of_an_edit_by_words_that_the_model_never_learned() -> None:
    """On the bundled model: the source is judged as ever, the edit is not. Words that the source
    has, too, are no change."""
    editor = Editor.load("toybox", "cpu")
    inversion = editor.invert(render(SCENE), f"look, {SOURCE}", "paired")
    known, new = assess(editor, inversion, [TARGETS[0], "a helicopter"]).edits
    assert known.success is not None and known.unknown == ()
    assert (new.success, new.preserved, new.unknown) == (None, None, ("helicopter",))
