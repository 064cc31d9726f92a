"""What the report's tables of figures are made of."""

from __future__ import annotations

from collections.abc import Sequence

from counterflow.bench.figures import about
from counterflow.bench.report.page import Column, Row, Section, Table
from counterflow.bench.report.summary import average
from counterflow.bench.results import Bench, MethodResults, Result
from counterflow.bench.stats import Interval

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
