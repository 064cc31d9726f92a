"""Experiments: what they ask, and that a verdict says what the numbers say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from counterflow.bench.engine import Figures, Setup
from counterflow.bench.experiments import EXPERIMENTS
from counterflow.bench.experiments.base import Answers, above, all_of, below, needed, no_loss
from counterflow.bench.experiments.run import Sample, drawn_from, plan
from counterflow.bench.report.page import Page
from counterflow.bench.run import _tasks
from counterflow.bench.sets import cases as sets
from counterflow.bench.sets import toypie
from counterflow.bench.stats import Interval
from counterflow.methods import registry
from tools import Run, refused

CASES = sets.read(sets.TOYPIE)


def answers(name: str, figures: Callable[[str, sets.Case, int], Figures]) -> Answers:
    """Made-up figures of every label and case of an experiment."""
    experiment = EXPERIMENTS[name]
    chosen, labels = experiment.choose(CASES, 24), [*experiment.conditions(20)]
    found = {
        (case.name, label): figures(label, case, n)
        for n, case in enumerate(chosen)
        for label in labels
    }
    return Answers(chosen, found, 20)


def number(label: str) -> float:
    return float(label.split()[-1])


def edit(success: float, psnr: float, n: int) -> Figures:
    """An edit's figures, with a little noise from case to case."""
    noise = 0.01 * (n % 3)
    found: Figures = {"success": success, "PSNR": psnr + noise, "kept": 1.0, "distance": 0.3}
    return found


def iterations(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    def figures(label: str, case: sets.Case, n: int) -> Figures:
        error = 0.5 - sign * 0.05 * number(label) + 0.001 * (n % 3)
        trip: Figures = {"latent": error, "reconstruction PSNR": 30.0, "largest": error}
        return trip if "reconstruct" in label else edit(1.0, 25 + sign * number(label), n)

    return figures


def compensation(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    def figures(label: str, case: sets.Case, n: int) -> Figures:
        if label in ("with", "without"):
            return {"largest": 1e-7 if label == "with" else 0.3}
        good = label != "source" or sign > 0 or n % 2
        return edit(float(good), 25, n)

    return figures


def text(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: edit(1.0, 25 + sign * (label == "on"), n)


def ratio(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: edit(1.0, 25 + sign * number(label), n)


def attention(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    def figures(label: str, case: sets.Case, n: int) -> Figures:
        hurt = (case.category == "change pose") == (sign > 0)
        return edit(float(not hurt or number(label) <= 0.2), 25, n)

    return figures


def ddim(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: {
        "latent": 0.2 + sign * 0.05 * ("euler" in label) + 0.001 * (n % 3),
        "reconstruction PSNR": 30.0,
    }


def extrapolated(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    def figures(label: str, case: sets.Case, n: int) -> Figures:
        value = 0.02 - sign * 0.01 * (label == "extrapolated") + 0.001 * (n % 3)
        return {"residual": value, "worst residual": 2 * value, "forwards": 36.0}

    return figures


def guidance(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: edit(
        float(number(label) > 2 or (sign < 0) or n % 2), 25 - sign * number(label), n
    )


def comparison(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: edit(1.0, 25 + sign * (label == "ftedit"), n)


MADE = {
    "iterations": iterations,
    "compensation": compensation,
    "text": text,
    "ratio": ratio,
    "attention": attention,
    "ddim": ddim,
    "extrapolated": extrapolated,
    "guidance": guidance,
    "steps": ratio,
    "comparison": comparison,
}


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_verdict_follows_the_numbers(name: str, sign: int) -> None:
    """Data made to bear the claim out does, its opposite does not; the section is whole."""
    section = EXPERIMENTS[name].conclude(answers(name, MADE[name](sign)))
    assert section.verdict is not None and section.verdict.holds is (sign > 0)
    assert section.table is not None and section.plot is not None and section.text.strip()
    assert all(len(row) == len(section.table.header) for row in section.table.rows)
    html = Page("t", "i", [section]).html()
    assert section.verdict.claim in html and "<svg" in html


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_difference_decides_nothing(name: str) -> None:
    """Where conditions differ by noise around zero alone, no claim of a difference holds."""

    def figures(label: str, case: sets.Case, n: int) -> Figures:
        wave = 0.1 * ((len(label) * 7 + n * 13 + sum(map(ord, label))) % 5 - 2)
        trip = {"latent": 0.5 + wave, "largest": 1e-7}
        trip |= {"residual": 0.5 + wave, "worst residual": 0.6 - wave}
        return edit(float((n + sum(map(ord, label))) % 2), 25 + wave, n) | trip

    section = EXPERIMENTS[name].conclude(answers(name, figures))
    assert section.verdict is not None and section.verdict.holds is not True


def test_pose_must_be_hurt_itself() -> None:
    """That others are helped makes no excess a loss of pose."""

    def figures(label: str, case: sets.Case, n: int) -> Figures:
        helped = case.category != "change pose" and number(label) > 0.2
        return edit(float(case.category == "change pose" or helped), 25, n)

    section = EXPERIMENTS["attention"].conclude(answers("attention", figures))
    assert section.verdict is not None and section.verdict.holds is not True


def test_the_cases_that_a_verdict_needed() -> None:
    """Where all is plain, the fewest; where all of them decide nothing, none."""
    assert needed(EXPERIMENTS["steps"], answers("steps", ratio(1))) == 10

    def late(label: str, case: sets.Case, n: int) -> Figures:
        return edit(1.0, 25 + 6 * (label == "30") * (n % 3 - 1), n)

    made = answers("steps", late)
    assert EXPERIMENTS["steps"].verdict(made).holds is None
    assert needed(EXPERIMENTS["steps"], made) is None


def test_agreement_is_no_certainty() -> None:
    """Of pairs that all agree it takes 59 to exclude a loss of a twentieth; ten decide at all."""
    assert no_loss(Interval(0.0, 0.0, 0.0, 58, 0)) is None
    assert no_loss(Interval(0.0, 0.0, 0.0, 59, 0)) is True
    assert no_loss(Interval(-0.01, -0.04, 0.02, 40, 0)) is True
    assert no_loss(Interval(-0.1, -0.2, -0.06, 40, 0)) is False
    assert above(Interval(1.0, 0.9, 1.1, 9, 0)) is None


def test_bounds() -> None:
    low, wide, high = (Interval(m, m - 1, m + 1, 10, 0) for m in (-2.0, 0.5, 2.0))
    assert [above(i) for i in (low, wide, high)] == [False, None, True]
    assert [below(i) for i in (low, wide, high)] == [True, None, False]
    assert above(Interval(None, None, None, 0, 0)) is None
    assert above(low, -5) is True
    near = Interval(0.1, -0.1, 0.2, 40, 0)
    assert [above(near, margin=m) for m in (0.0, 0.2, 0.3)] == [None, None, False]
    near = Interval(-0.1, -0.2, 0.1, 40, 0)
    assert [below(near, margin=m) for m in (0.0, 0.2, 0.3)] == [None, None, False]
    assert above(Interval(0.1, 0.05, 0.2, 40, 0), margin=0.3) is True
    assert above(Interval(0.1, -0.1, 0.2, 9, 0), margin=0.3) is None
    assert all_of(True, None) is None and all_of(None, False) is False and all_of(True) is True


def test_what_the_paper_varies_is_asked() -> None:
    """Every value of every ablation, all else at the paper's defaults."""
    asked = {name: [*each.conditions(20).values()] for name, each in EXPERIMENTS.items()}

    def values(name: str, setting: str) -> set[object]:
        return {each.method.to_dict()[setting] for each in asked[name] if each.compensated is None}

    assert values("iterations", "iterations") == {0, 1, 2, 3, 4, 5}
    assert values("compensation", "compensate") == {"source", "both", "none"}
    assert values("text", "text_ratio") == {0.0, 1.0}
    assert {each.method.to_dict()["solver"] for each in asked["ddim"]} == {"euler", "ddim"}
    varied = {
        "iterations": "iterations", "compensation": "compensate", "text": "text_ratio",
        "ratio": "text_ratio", "guidance": "guidance", "steps": "steps",
    }  # fmt: skip
    for name, setting in varied.items():
        for each in asked[name]:
            settings = each.method.to_dict()
            changed = {k for k, v in PAPER.items() if settings[k] != v}
            assert each.method.name == "ftedit" and changed <= {setting}


@pytest.mark.parametrize("count", [40, 80])
def test_pose_edits_are_as_many_as_the_sample_wants(count: int) -> None:
    cases = drawn_from(Sample(Setup(), "model", toypie.SEED, count, 20))
    chosen = EXPERIMENTS["attention"].choose(cases, count)
    pose = [case.category == "change pose" for case in chosen]
    assert sum(pose) == count * 3 // 4 and len(pose) == count * 3 // 2
    assert len({case.name for case in chosen}) == len(chosen)


PAPER = registry.method("ftedit", steps=20).to_dict()


def test_an_inversion_serves_all_that_hangs_on_it(tmp_path: Path) -> None:
    """Conditions of one case and inversion are one task, and none is lost or made twice."""
    sample = Sample(Setup(), "model", 10_000, 2, 20)
    chosen = plan([*EXPERIMENTS.values()], CASES, sample)
    assert len({condition.name for condition in chosen}) == len(chosen)
    wanted = {
        (case.name, condition.name)
        for each in EXPERIMENTS.values()
        for case in each.choose(CASES, 2)
        for condition in each.conditions(20).values()
    }
    tasks = _tasks(tmp_path, chosen)
    attempts = [(attempt.case.name, attempt.condition.name) for task in tasks for attempt in task]
    assert len(attempts) == len(wanted) and set(attempts) == wanted
    inversions = [(task[0].case.name, task[0].condition.method.inversion) for task in tasks]
    assert len(set(inversions)) == len(tasks)
    for task in tasks:
        assert len({(each.case.name, each.condition.method.inversion) for each in task}) == 1


FAST = ["--count", "2", "--steps", "2", "--workers", "1"]


def test_experiments_from_the_command_line(run: Run, model: str, tmp_path: Path) -> None:
    """A page and figures; a second run makes again only what is missing or has failed."""
    folder = tmp_path / "e"
    more = ["-o", folder, "--model", model, *FAST]
    code, out, err = run("experiments", "compensation", *more, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)["experiments"]["compensation"]
    assert set(told["figures"]) == {"source", "both", "none", "with", "without"}
    assert told["figures"]["with"]["largest"]["mean"] < 1e-4 and told["cases"] == 5
    html = (folder / "experiments.html").read_text()
    assert "data:image" in html and "http" not in html.replace("http://www.w3.org", "")
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/[0-9]*.json")}
    assert len(made) == 5 * 5
    assert run("experiments", "compensation", *more)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/[0-9]*.json")} == made
    gone, failed, *_ = made
    gone.unlink()
    spoiled = json.loads(failed.read_text()) | {"error": "stopped", "figures": {}}
    failed.write_text(json.dumps(spoiled))
    code, out, _ = run("experiments", "compensation", *more)
    assert code == 0 and "compensation" in out
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/[0-9]*.json")}
    assert {path for path in made if after[path] != made[path]} == {gone, failed}
    assert json.loads(failed.read_text())["error"] is None
    assert run("report", folder, "--pictures", "2")[0] == 0
    page = (folder / "report.html").read_text()
    assert "Reconstructions" in page and "unfinished" not in page
    refused(run("experiments", "compensation", *more, "--seed", "9"), 2, "10000", "9")
    refused(run("experiments", "magic", *more), 2, "magic", "iterations")
    refused(run("experiments", *more, "--count", "1"), 2, "--count")
    refused(run("experiments", *more, "--count", "1001"), 2, "--count")
    refused(run("experiments", *more, "--count", "400", "--seed", str(10**9 - 500)), 2, "not fresh")
    file = folder / "experiments.json"
    refused(run("experiments", "ddim", "-o", file, "--model", model, *FAST), 2, "not a folder")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "answers.jsonl").write_text("{}")
    old = ["-o", tmp_path / "old", "--model", model, *FAST]
    refused(run("experiments", "ddim", *old), 2, "earlier version", "answers.jsonl")
    assert run("experiments", "guidance", *more)[0] == 0
    both = json.loads((folder / "experiments.json").read_text())["experiments"]
    assert list(both) == ["compensation", "guidance"], "what was answered before stays on the page"
    refused(run("experiments", *more, "--seed", str(10**9)), 2, "not fresh")
    code, out, _ = run("experiments", "--list")
    assert code == 0 and all(name in out for name in EXPERIMENTS)
