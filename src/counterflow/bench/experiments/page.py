"""One page of all experiments that were run: the verdicts first, then each with its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from counterflow.bench.cases import Case
from counterflow.bench.experiments.run import SHOWN, Found, Sample, Store, written
from counterflow.bench.page import Column, Page, Picture, Section, Strip, Table
from counterflow.controls.align import changed_words

INTRO = """
A picture is edited by inverting it, that is by finding the noise that a flow model would make it
from, and generating again with another sentence. These experiments take the method of FTEdit
("Unveil Inversion and Invariance in Flow Transformer for Versatile Image Editing", CVPR 2025,
arXiv 2411.15843) apart on the small model that ships with Counterflow, claim by claim.

The pictures are drawn scenes, so the true result of every edit is known; a classifier that never
saw a generated picture, the judge, reads from each edit whether it shows what was asked. What
holds here need not hold on a large model, nor the reverse.
"""


def build(found: Sequence[Found], sample: Sample, store: Store, judge: dict[str, float]) -> Page:
    """The page; equal answers give an equal page."""
    rows = [
        [each.section.title, verdict.claim, verdict.word, verdict.sentence]
        for each in found
        if (verdict := each.section.verdict) is not None
    ]
    header = [Column("experiment"), Column("claim"), Column("verdict"), Column("measured")]
    notes = (
        "A claim holds, or does not, where the whole 95 % interval lies on one side; else it is "
        "undecided at this sample size.",
    )
    summary = Section("Claims", table=Table(header, rows, notes))
    cases = {case.name for each in found for case in each.answers.cases}
    facts = [
        ("model", sample.identity),
        ("cases", f"ToyPIE, seed {sample.seed}: {len(cases)} cases, {sample.count} by default"),
        ("steps", f"{sample.steps} where nothing else is said"),
        ("other settings", "the paper's: 3 averaged iterations, guidance 2, text control on"),
        ("the judge's accuracy", f"{min(judge.values()):.3f} on its worst attribute"),
    ]
    sections = [summary, *(_shown(each, sample, store) for each in found)]
    return Page("The paper's experiments", INTRO, sections, facts)


def _shown(found: Found, sample: Sample, store: Store) -> Section:
    """The section with the pictures of its first cases."""
    section = found.section
    strips = [_strip(found, case, sample, store) for case in found.answers.cases[:SHOWN]]
    shown = [strip for strip in strips if strip is not None]
    return Section(section.title, section.text, section.table, section.plot, section.verdict, shown)


def _strip(found: Found, case: Case, sample: Sample, store: Store) -> Strip | None:
    made = []
    for label, query in found.experiment.queries(sample.steps).items():
        picture = store.picture((case.name, written(query)))
        if query.edit is not None and picture is not None:
            success = found.answers.figures[case.name, label].get("success")
            made.append(Picture(picture, label, None if success is None else success == 1))
    if not made:
        return None
    sentences = [
        ("source", case.source, changed_words(case.target, case.source)),
        ("target", case.target, changed_words(case.source, case.target)),
    ]
    ends = [Picture(case.picture(), "the picture"), Picture(case.truth(), "the truth")]
    return Strip(case.category, sentences, [*ends, *made])


def summarise(found: Sequence[Found], sample: Sample) -> dict[str, Any]:
    """JSON-ready: the sample, and for each experiment its verdict and every label's figures."""
    return {
        "model": sample.identity,
        "seed": sample.seed,
        "count": sample.count,
        "steps": sample.steps,
        "experiments": {each.experiment.name: _summary(each) for each in found},
    }


def _summary(found: Found) -> dict[str, Any]:
    verdict, answers = found.section.verdict, found.answers
    figures: dict[str, Any] = {}
    for label in dict.fromkeys(label for _, label in answers.figures):
        names = dict.fromkeys(
            name for (_, other), each in answers.figures.items() if other == label for name in each
        )
        figures[label] = {
            name: {"mean": it.mean, "low": it.low, "high": it.high, "count": it.count}
            for name in names
            if (it := answers.mean(label, name)).mean is not None
        }
    return {
        "title": found.section.title,
        "cases": len(answers.cases),
        "claim": verdict.claim if verdict else None,
        "holds": verdict.holds if verdict else None,
        "measured": verdict.sentence if verdict else None,
        "figures": figures,
    }


def as_text(found: Sequence[Found], sample: Sample) -> str:
    """`summarise` as a JSON text."""
    return json.dumps(summarise(found, sample), indent=1) + "\n"
