"""Experiments: what they ask, and that a verdict says what the numbers say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from counterflow.bench import cases as sets
from counterflow.bench.engine import Figures
from counterflow.bench.experiments import EXPERIMENTS
from counterflow.bench.experiments.base import Answers, above, all_of, below, no_loss
from counterflow.bench.experiments.run import grouped, written
from counterflow.bench.page import Page
from counterflow.bench.stats import Interval
from tools import Run, refused

CASES = sets.read(sets.TOYPIE)


def answers(name: str, figures: Callable[[str, sets.Case, int], Figures]) -> Answers:
    """Made-up figures of every label and case of an experiment."""
    experiment = EXPERIMENTS[name]
    chosen = experiment.choose(CASES, 24)
    found = {
        (case.name, label): figures(label, case, n)
        for n, case in enumerate(chosen)
        for label in experiment.queries(20)
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
        trip: Figures = {"latent": error, "PSNR": 30.0, "largest": error}
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
        "PSNR": 30.0,
    }


def guidance(sign: int) -> Callable[[str, sets.Case, int], Figures]:
    return lambda label, case, n: edit(
        float(number(label) > 2 or (sign < 0) or n % 2), 25 - sign * number(label), n
    )


MADE = {
    "iterations": iterations,
    "compensation": compensation,
    "text": text,
    "ratio": ratio,
    "attention": attention,
    "ddim": ddim,
    "guidance": guidance,
    "steps": ratio,
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
    assert all_of(True, None) is None and all_of(None, False) is False and all_of(True) is True


def test_what_the_paper_varies_is_asked() -> None:
    """Every value of every ablation, all else at the paper's defaults."""
    asked = {name: each.queries(20) for name, each in EXPERIMENTS.items()}
    tried = {q.invert.iterations for q in asked["iterations"].values()}
    assert tried == {0, 1, 2, 3, 4, 5}
    assert {q.edit.compensate for q in asked["compensation"].values() if q.edit} == {
        "source", "both", "none"
    }  # fmt: skip
    assert {q.edit.text_ratio for q in asked["text"].values() if q.edit} == {0.0, 1.0}
    assert {q.invert.solver for q in asked["ddim"].values()} == {"euler", "ddim"}
    chosen = EXPERIMENTS["attention"].choose(CASES, 40)
    pose = [case.category == "change pose" for case in chosen]
    assert sum(pose) == 30 and len(pose) == 60


def test_an_inversion_serves_all_that_hangs_on_it() -> None:
    """Queries of one case and inversion are one task, and none is lost."""
    todo = [
        (case, query)
        for each in EXPERIMENTS.values()
        for case in CASES[:2]
        for query in {written(q): q for q in each.queries(20).values()}.values()
    ]
    tasks = grouped(todo)
    assert len({(t.cases[0].name, t.invert) for t in tasks}) == len(tasks)
    assert sum(len(t.edits) + len(t.reconstructions) for t in tasks) == len(todo)


FAST = ["--count", "2", "--steps", "2", "--workers", "1"]


def test_experiments_from_the_command_line(run: Run, model: str, tmp_path: Path) -> None:
    """A page and figures; a second run asks nothing again, even after a line was cut short."""
    folder = tmp_path / "e"
    more = ["-o", folder, "--model", model, *FAST]
    code, out, err = run("experiments", "compensation", *more, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)["experiments"]["compensation"]
    assert set(told["figures"]) == {"source", "both", "none", "with", "without"}
    assert told["figures"]["with"]["largest"]["mean"] < 1e-4 and told["cases"] == 5
    html = (folder / "experiments.html").read_text()
    assert "data:image" in html and "http" not in html.replace("http://www.w3.org", "")
    path = folder / "answers.jsonl"
    before = path.read_text()
    assert run("experiments", "compensation", *more)[0] == 0
    assert path.read_text() == before
    path.write_text(before[:-20])
    code, out, _ = run("experiments", "compensation", *more)
    assert code == 0 and "compensation" in out
    assert len(path.read_text().splitlines()) == len(before.splitlines()) + 1
    refused(run("experiments", "compensation", *more, "--seed", "9"), 2, "10000", "9")
    refused(run("experiments", "magic", *more), 2, "magic", "iterations")
    refused(run("experiments", *more, "--count", "1"), 2, "--count")
    refused(run("experiments", *more, "--count", "161"), 2, "--count")
    refused(run("experiments", "ddim", "-o", path, "--model", model, *FAST), 2, "not a folder")
    assert run("experiments", "guidance", *more)[0] == 0
    both = json.loads((folder / "experiments.json").read_text())["experiments"]
    assert list(both) == ["compensation", "guidance"], "what was answered before stays on the page"
    refused(run("experiments", *more, "--seed", str(10**9)), 2, "not fresh")
    code, out, _ = run("experiments", "--list")
    assert code == 0 and all(name in out for name in EXPERIMENTS)
