"""One page of all experiments that were run: the verdicts first, then each with its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterflow.bench.experiments.base import EQUAL
from counterflow.bench.experiments.run import Finding, Sample
from counterflow.bench.figures import FIGURES
from counterflow.bench.report.page import Column, Page, Picture, Row, Section, Strip, Table
from counterflow.bench.report.summary import numbers
from counterflow.bench.sets.cases import Case
from counterflow.controls.align import changed_words
from counterflow.images import load

SHOWN = 2
"""Cases of each experiment whose pictures are shown."""

INTRO = """
A picture is edited by inverting it, that is by finding the noise that a flow model would make it
from, and generating again with another sentence. These experiments take the method of FTEdit
("Unveil Inversion and Invariance in Flow Transformer for Versatile Image Editing", CVPR 2025,
arXiv 2411.15843) apart on the small model that ships with Counterflow, claim by claim.

The pictures are drawn scenes, so the true result of every edit is known; a classifier that never
saw a generated picture, the judge, reads from each edit whether it shows what was asked. What
holds here need not hold on a large model, nor the reverse.
"""


def build(
    findings: Sequence[Finding], sample: Sample, folder: Path, judge: dict[str, float]
) -> Page:
    """The page, with pictures from the results folder; equal results give an equal page."""
    rows: list[Row] = [
        [
            each.section.title,
            verdict.claim,
            verdict.word,
            verdict.sentence,
            len(each.answers.cases),
            each.needed,
        ]
        for each in findings
        if (verdict := each.section.verdict) is not None
    ]
    header = [
        *(Column(name) for name in ("experiment", "claim", "verdict", "measured", "cases")),
        Column("needed", "How many of the cases, spread evenly, decide as all of them do."),
    ]
    equal = ", ".join(f"{name} {margin:g}" for name, margin in EQUAL.items())
    notes = (
        "A claim holds, or does not, where the whole 95 % interval lies on one side; else it is "
        "undecided at this sample size. Where a claim is of a difference, it does not hold either "
        f"if all of the interval is below what counts as equal: {equal}.",
    )
    claims = Section("Claims", table=Table(header, rows, notes))
    cases = {case.name for each in findings for case in each.answers.cases}
    facts = [
        ("model", sample.identity),
        ("cases", f"ToyPIE, seed {sample.seed}: {len(cases)} cases, {sample.count} by default"),
        ("steps", f"{sample.steps} where nothing else is said"),
        ("other settings", "the paper's: 3 averaged iterations, guidance 2, text control on"),
        ("the judge's accuracy", f"{min(judge.values()):.3f} on its worst attribute"),
    ]
    sections = [claims, *(_illustrated(each, sample, folder) for each in findings)]
    return Page("The paper's experiments", INTRO, sections, facts)


def _illustrated(finding: Finding, sample: Sample, folder: Path) -> Section:
    """The section with the pictures of its first cases."""
    strips = [_strip(finding, case, sample, folder) for case in finding.answers.cases[:SHOWN]]
    return replace(finding.section, pictures=[strip for strip in strips if strip is not None])


def _strip(finding: Finding, case: Case, sample: Sample, folder: Path) -> Strip | None:
    """The edits of a case beside its picture and its truth; None where there are none."""
    edits = []
    for label, condition in finding.experiment.conditions(sample.steps).items():
        path = folder / condition.name / f"{case.name}.png"
        if condition.compensated is None and path.is_file():
            success = finding.answers.figures[case.name, label].get("success")
            edits.append(Picture(load(path), label, None if success is None else success == 1))
    if not edits:
        return None
    sentences = [
        ("source", case.source, changed_words(case.target, case.source)),
        ("target", case.target, changed_words(case.source, case.target)),
    ]
    ends = [Picture(case.picture(), "the picture"), Picture(case.truth(), "the truth")]
    return Strip(case.category, sentences, [*ends, *edits])


def as_dict(findings: Sequence[Finding], sample: Sample) -> dict[str, Any]:
    """JSON-ready: the sample, and for each experiment its verdict and every label's figures."""
    return {
        "model": sample.identity,
        "seed": sample.seed,
        "count": sample.count,
        "steps": sample.steps,
        "experiments": {each.experiment.name: _finding(each) for each in findings},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    verdict, answers = finding.section.verdict, finding.answers
    labels = dict.fromkeys(label for _, label in answers.figures)
    return {
        "title": finding.section.title,
        "cases": len(answers.cases),
        "needed": finding.needed,
        "claim": verdict.claim if verdict else None,
        "holds": verdict.holds if verdict else None,
        "measured": verdict.sentence if verdict else None,
        "figures": {
            label: {
                name: numbers(name, interval)
                for name in FIGURES
                if (interval := answers.average(label, name)).estimate is not None
            }
            for label in labels
        },
    }


def as_text(findings: Sequence[Finding], sample: Sample) -> str:
    """`as_dict` as a JSON text."""
    return json.dumps(as_dict(findings, sample), indent=1) + "\n"
