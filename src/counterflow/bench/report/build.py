"""A results folder as one HTML page: tables, plots, and the pictures with the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterflow.bench.figures import (
    COST,
    FIGURES,
    NEED_JUDGE,
    QUALITY,
    RECONSTRUCTION,
    about,
    label,
)
from counterflow.bench.report import plots
from counterflow.bench.report.front import TWENTY, front, same_cases
from counterflow.bench.report.page import Column, Page, Row, Section, Table
from counterflow.bench.report.strips import strips, worst_first
from counterflow.bench.report.summary import categories
from counterflow.bench.report.tables import EDITS, averages, by_method, masks, measured, trust
from counterflow.bench.results import Bench, MethodResults, Result, read
from counterflow.bench.stats import Interval, paired_difference
from counterflow.errors import InputError
from counterflow.writing import save_bytes_atomically

PICTURES = 60
OWN = "ftedit"
"""The method that stands first where it is there: the others are compared with the first."""

NAMES = {"toypie": "ToyPIE"}
PROFILES = {
    "corrected": "Background figures are means over the pixels outside the edited region.",
    "pie-compat": "Background figures repeat the published evaluator, flaws included: pixels "
    "inside the edited region count as perfect. Compare them with papers only.",
}
INTERVALS = (
    "Numbers are means over edits, or medians where a heading says so; in brackets are 95 % "
    "intervals, by resampling the edits. No bracket stands where all edits have the same value, "
    "which among few is no certainty. n/a "
    "counts edits to which a figure does not apply or of which it was not measured; exact counts "
    "pictures equal to the source outside the edited region, whose PSNR is infinite. Neither is in "
    "the average."
)


def report(
    folder: str | Path,
    output: str | Path | None = None,
    pictures: int = PICTURES,
    bench: Bench | None = None,
) -> Path:
    """Write the page of a results folder, `report.html` in it by default, and return its path.

    `pictures` is how many cases are shown; `bench` is what the folder holds, if it has been read
    already. Raises InputError for a folder without results, for
    what is malformed in it, and for an output that is not .html or cannot be written.
    """
    folder = Path(folder)
    path = folder / "report.html" if output is None else Path(output)
    if path.suffix.lower() != ".html":
        raise InputError(f"{path}: name the page .html")
    if pictures < 0:
        raise InputError(f"pictures is 0 or more, not {pictures}")
    page = build(folder, _own_first(bench or read(folder)), pictures)
    save_bytes_atomically(path, page.html().encode(errors="replace"))
    return path


def build(folder: Path, bench: Bench, pictures: int = PICTURES) -> Page:
    """The page of what `results.read` found in `folder`. Raises InputError as `report` does."""
    if not any(method.results for method in bench.methods):
        raise InputError(f"{folder} holds no result yet; run the benchmark into it first")
    edits = bench.edits
    reconstructions = [m for m in bench.methods if m.compensated is not None]
    cases = worst_first(edits)
    name = NAMES.get(bench.cases, bench.cases)
    sections = _edit_sections(edits) if cases else []
    if reconstructions:
        sections.append(_reconstructions(reconstructions))
    sections += _errors(bench)
    if len(edits.methods) > 1 and (same := same_cases(edits, min(TWENTY, pictures))):
        sections.append(_same(folder, edits, same))
    if cases:
        sections.append(_pictures(folder, edits, cases, pictures))
    intro = f"{_intro(edits, len(cases), name) if cases else 'Reconstructions.'}\n\n{INTERVALS}"
    facts = list(_facts(bench, len({r.case for m in bench.methods for r in m.results})))
    return Page(f"Edits of {name}", intro, sections, facts)


def _intro(bench: Bench, cases: int, name: str) -> str:
    many = len(bench.methods) > 1
    each = f"each of {len(bench.methods)} methods" if many else bench.methods[0].title
    unfinished = ""
    if bench.uneven:
        each = f"{len(bench.methods)} methods" if many else each
        unfinished = " Not every method has edited every case."
    elif any(len(method.results) < cases for method in bench.methods):
        unfinished = " Some methods have not edited them all: the run is unfinished."
    return (
        f"{cases} edits of {name} were made by {each}, from a sentence that describes the picture "
        f"to one that describes what it should become.{unfinished} "
        f"{PROFILES.get(bench.profile, '')}"
    )


def _edit_sections(bench: Bench) -> list[Section]:
    """Everything of edits but errors and pictures."""
    sections = [_overall(bench), *front(bench)]
    if len(bench.methods) > 1:
        sections.append(_against(bench))
    if measured(bench, (_aim(bench),)) and any(
        r.category for m in bench.methods for r in m.results
    ):
        sections.append(_kinds(bench))
    sections += [_kinds_of(bench, method) for method in bench.methods]
    return [*sections, *masks(bench), *trust(bench), _cost(bench)]


def _facts(bench: Bench, cases: int) -> Iterator[tuple[str, str]]:
    limit = "" if bench.limit is None else f", limit {bench.limit}"
    yield "cases", f"{cases} of {NAMES.get(bench.cases, bench.cases)}{limit}"
    yield "seed", "none" if bench.seed is None else str(bench.seed)
    yield "methods", str(len(bench.methods))
    edits = [result for method in bench.methods for result in method.results]
    yield "edits", str(len(edits))
    yield "profile", bench.profile
    yield "model", bench.model
    forwards, seconds = (sum(r.figure(k) or 0 for r in edits) for k in ("forwards", "seconds"))
    count = f"{forwards:,.0f}".replace(",", "\u2009")
    yield "cost", f"{count} forwards, {_duration(seconds)}"
    yield "counterflow", bench.counterflow


def _own_first(bench: Bench) -> Bench:
    methods = sorted(bench.methods, key=lambda m: m.name.partition(",")[0] != OWN)
    return replace(bench, methods=tuple(methods))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _overall(bench: Bench) -> Section:
    names = measured(bench, about("edit", "model"))
    rows = by_method(bench.methods, names)
    header = [Column("method"), EDITS, *(Column.of(name) for name in names)]
    points = [
        plots.Point(m.title, *averages(m.results, ("PSNR", _aim(bench)))) for m in bench.methods
    ]
    both = "PSNR" in names and _aim(bench) != "PSNR"
    text = (
        "A good edit does what its target prompt asks and leaves the rest alone: in the plot, up "
        "and to the right. The crosses are 95 % intervals."
    )
    plot = plots.scatter(points, "background PSNR, dB", _aim(bench)) if both else None
    table = Table(header, rows, [*_notes(bench, names), *bench.notes])
    return Section("All edits", text if both else "", table, plot)


def _against(bench: Bench) -> Section:
    """Differences on the same pictures, which tell more than two intervals side by side."""
    own, *others = bench.methods
    names = measured(bench, QUALITY)
    rows: list[Row] = [[m.title, *(_difference(m, own, name) for name in names)] for m in others]
    columns = (Column.of(name, label(name, of_all=False), signed=True) for name in names)
    header = [Column("method"), *columns]
    text = (
        f"Each method's figures less those of {own.title}, the mean over the pictures that both "
        "edited. "
        "A difference is bold where its interval leaves out zero; of methods that do not differ, "
        "about one number in twenty would be bold by chance."
    )
    table = Table(header, rows, _notes(bench, names))
    return Section(f"Against {own.title}, picture by picture", text, table)


def _difference(method: MethodResults, own: MethodResults, name: str) -> Interval:
    other = {result.case: result for result in own.results}
    both = [result for result in method.results if result.case in other]
    return paired_difference(
        [result.figure(name) for result in both], [other[r.case].figure(name) for r in both]
    )


def _kinds(bench: Bench) -> Section:
    aim = _aim(bench)
    kinds = categories([result for method in bench.methods for result in method.results])
    series = [
        (method.title, [averages(_of(method, kind), (aim,))[0] for kind in kinds])
        for method in bench.methods
    ]
    top = FIGURES[aim].high if FIGURES[aim].high == 1 else None
    return Section(
        "By kind of edit", FIGURES[aim].meaning, plot=plots.bars(kinds, series, aim, top)
    )


def _kinds_of(bench: Bench, method: MethodResults) -> Section:
    names = measured(bench, QUALITY)
    rows: list[Row] = [
        [kind, len(group), *averages(group, names)]
        for kind in filter(None, categories(method.results))
        if (group := _of(method, kind))
    ]
    rows.append(["all", len(method.results), *averages(method.results, names)])
    header = [Column("kind of edit"), EDITS, *(Column.of(name) for name in names)]
    settings = _settings(method.settings)
    text = "\n\n".join([method.paper, f"Settings: {settings}." if settings else ""])
    return Section(f"{method.title}, by kind", text, Table(header, rows, _notes(bench, names)))


def _settings(values: dict[str, Any]) -> str:
    """Settings as a reader wants them: names in words, what is off or default left out."""
    return ", ".join(
        f"{name.replace('_', ' ')} {' '.join(map(str, v)) if isinstance(v, list) else v}"
        for name, v in values.items()
        if v not in (None, False, [])
    )


def _cost(bench: Bench) -> Section:
    names = measured(bench, COST)
    rows = by_method(bench.methods, names)
    header = [Column("method"), EDITS, *(Column.of(name) for name in names)]
    forwards = [averages(m.results, ("forwards",))[0] for m in bench.methods]
    titles = [method.title for method in bench.methods]
    plot = plots.rows(titles, forwards, "forwards per edit") if "forwards" in names else None
    return Section("What an edit costs", "", Table(header, rows), plot)


def _reconstructions(methods: Sequence[MethodResults]) -> Section:
    results = [result for method in methods for result in method.results]
    names = [name for name in RECONSTRUCTION if any(r.figure(name) is not None for r in results)]
    names.append("forwards")
    rows = by_method(methods, names)
    pictures = Column("pictures", "How many pictures the row is over, failed ones included.")
    header = [Column("method"), pictures, *(Column.of(name) for name in names)]
    text = (
        "Each source generated again from the noise that its inversion found, guided as it was "
        "inverted, with velocity compensation or without."
    )
    return Section("Reconstructions", text, Table(header, rows))


def _errors(bench: Bench) -> list[Section]:
    rows: list[Row] = [
        [m.title, r.case, r.error] for m in bench.methods for r in m.results if r.error
    ]
    header = [Column("method"), Column("case"), Column("what went wrong")]
    text = f"Edits that failed: {len(rows)}. They are n/a in the figures above."
    return [Section("Errors", text, Table(header, rows))] if rows else []


def _same(folder: Path, bench: Bench, cases: Sequence[str]) -> Section:
    text = f"The same {len(cases)} cases by every method, of all kinds in turn, without selection."
    return Section("Side by side", text, pictures=strips(folder, bench, cases))


def _pictures(folder: Path, bench: Bench, cases: Sequence[str], count: int) -> Section:
    chosen = cases[:count]
    which = "all" if len(chosen) == len(cases) else f"the worst {len(chosen)} of"
    text = (
        f"Shown are {which} {len(cases)} cases, the worst first: those in which most methods "
        "failed, then those that kept least, then those of the lowest background PSNR. Marked are "
        "the words that differ between the prompts."
    )
    judged = " A tick is the judge's word that every change was made." if bench.judge else ""
    return Section("Pictures", text + judged, pictures=strips(folder, bench, chosen))


def _of(method: MethodResults, kind: str) -> list[Result]:
    return [result for result in method.results if result.category == kind]


def _aim(bench: Bench) -> str:
    """The figure that says whether edits do what was asked."""
    there = measured(bench, ("success", "CLIP edited", "CLIP whole"))
    return there[0] if there else "PSNR"


def _notes(bench: Bench, names: Sequence[str]) -> list[str]:
    """What must stand under a table of these figures."""
    notes = []
    if bench.judge and any(name in NEED_JUDGE for name in names):
        each = ", ".join(f"{name} {value:.3f}" for name, value in bench.judge.items())
        notes.append(f"The judge's accuracy on held-out pictures: {each.replace('_', ' ')}.")
    absent = [name for name in QUALITY if name not in names]
    if absent:
        notes.append(f"Not measured: {', '.join(absent)}.")
    return notes
