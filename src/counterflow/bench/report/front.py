"""Quality over cost: which methods no other one beats at their number of forwards, or fewer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from counterflow.bench.figures import FIGURES, label
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Table
from counterflow.bench.report.summary import average, categories, estimate
from counterflow.bench.results import Bench, MethodResults

AIMS = ("success", "PSNR", "distance", "CLIP edited")
TWENTY = 20


def front(bench: Bench) -> list[Section]:
    """The section, where there are methods to compare and figures to compare them by."""
    costs = {m.name: estimate(m.results, "forwards") or 0.0 for m in bench.methods}
    methods = sorted((m for m in bench.methods if costs[m.name]), key=lambda m: costs[m.name])
    names = [name for name in AIMS if any(estimate(m.results, name) is not None for m in methods)]
    if len(methods) < 2 or not names:
        return []
    panels, rows = [], []
    # Who edits nothing keeps everything.
    editing = [
        m for m in methods if (made := estimate(m.results, "success")) is None or made >= 0.5
    ]
    fronts = {name: best(editing, name) for name in names}
    for name in names:
        points = [
            plots.Priced(
                method.name.partition(",")[0],
                costs[method.name],
                average(method.results, name),
                method.name in fronts[name],
            )
            for method in methods
        ]
        panels.append((label(name), points))
    for method in methods:
        on: Row = ["front" if method.name in fronts[name] else "" for name in names]
        if any(on):
            rows.append([method.title, costs[method.name], *on])
    text = (
        "On the front, drawn as steps, are the methods to which no other one is equal or better "
        "for as few forwards, of those that succeed in half of the edits. What a picture's "
        "inversion costs is among its forwards, and guidance counts as two."
    )
    header = [Column("method"), Column.of("forwards"), *(Column(f"by {name}") for name in names)]
    return [Section("Quality over cost", text, Table(header, rows), plots.fronts(panels))]


def best(methods: Sequence[MethodResults], name: str) -> list[str]:
    """The names of the methods that no other one equals in a figure for as few forwards."""
    sign = 1 if FIGURES[name].better == "higher" else -1
    ranked = []
    for method in methods:
        value, cost = (estimate(method.results, figure) for figure in (name, "forwards"))
        if value is not None and cost is not None:
            ranked.append((cost, -sign * value, method.name))
    ranked.sort()
    kept: list[str] = []
    least = float("inf")
    for _, value, who in ranked:
        if value < least:
            kept.append(who)
            least = value
    return kept


def same_cases(bench: Bench, count: int) -> list[str]:
    """The first cases of every kind in turn that all methods have edited, at most so many."""
    edited = [{result.case for result in method.results} for method in bench.methods]
    shared = set.intersection(*edited) if edited else set()
    first = bench.methods[0].results if bench.methods else ()
    kinds = [
        [r.case for r in first if r.category == kind and r.case in shared]
        for kind in categories(first)
    ]
    return [case for turn in _turns(kinds) for case in turn][:count]


def _turns(kinds: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    for n in range(max(map(len, kinds), default=0)):
        yield [kind[n] for kind in kinds if n < len(kind)]
