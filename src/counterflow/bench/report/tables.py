"""What the report's tables of figures are made of."""

from __future__ import annotations

from collections.abc import Sequence

from counterflow.bench.figures import about
from counterflow.bench.report.page import Column, Row, Section, Table
from counterflow.bench.report.summary import average
from counterflow.bench.results import Bench, MethodResults, Result
from counterflow.bench.stats import Interval
from counterflow.trust.scores import auc, calibration_error

EDITS = Column("edits", "How many edits the row is over, those that failed with an error included.")


def by_method(methods: Sequence[MethodResults], names: Sequence[str]) -> list[Row]:
    """A row for each method: title, number of results, and figures."""
    return [[m.title, len(m.results), *averages(m.results, names)] for m in methods]


def averages(results: Sequence[Result], names: Sequence[str]) -> list[Interval]:
    """Of each figure over some results."""
    return [average(results, name) for name in names]


def measured(bench: Bench, names: Sequence[str]) -> list[str]:
    """The figures that any edit has."""
    figures = [result.figures for method in bench.methods for result in method.results]
    return [name for name in names if any(each.get(name) is not None for each in figures)]


def trust(bench: Bench) -> list[Section]:
    """How true the chances of success were that were told before the edits were judged."""
    rows: list[Row] = []
    for method in bench.methods:
        told = [
            (chance, bool(success))
            for result in method.results
            if (chance := result.figure("chance")) is not None
            and (success := result.figure("success")) is not None
        ]
        if told:
            chances, outcomes = [each for each, _ in told], [each for _, each in told]
            failed, done = ([c for c, won in told if won is which] for which in (False, True))
            rows.append(
                [
                    method.title,
                    len(told),
                    sum(chances) / len(told),
                    sum(outcomes) / len(told),
                    calibration_error(chances, outcomes),
                    auc(failed, done),
                ]
            )
    if not rows:
        return []
    header = [
        Column("method"),
        EDITS,
        Column("chance told", "The mean over edits."),
        Column("success", "The share of them that succeeded."),
        Column("calibration error", "Expected, over ten bins: 0 is a chance that is true."),
        Column(
            "AUC", "The chance that an edit that succeeded was told a higher one than a failed."
        ),
    ]
    text = (
        "Before an edit was judged its chance of success was told, from the picture, its sentence "
        "and the target. A calibration is of one method and its settings: for another it is only "
        "as good as the two are alike."
    )
    return [Section("How far results are to be trusted", text, Table(header, rows))]


def masks(bench: Bench) -> list[Section]:
    """How well methods that find a mask themselves find the region of the edit."""
    finding = [m for m in bench.methods if any(r.figure("mask IoU") is not None for r in m.results)]
    if not finding:
        return []
    names = about("mask")
    header = [Column("method"), EDITS, *(Column.of(name) for name in names)]
    text = (
        "Some methods find for themselves where the edit belongs. Here each mask, a mean over the "
        "method's steps and inside from one half on, is laid over the true region: 1 is the region "
        "itself, 0 has nothing in common with it. A method that weighs its mask otherwise than as "
        "inside and outside may edit well with a low overlap."
    )
    return [Section("Masks", text, Table(header, by_method(finding, names)))]
