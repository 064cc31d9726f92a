"""Run methods over cases; every result is on disk as soon as it is there, and is made once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from counterflow.bench import results
from counterflow.bench.cases import Case
from counterflow.bench.engine import Outcome, Setup, Task
from counterflow.bench.workers import outcomes
from counterflow.edit.methods import Method
from counterflow.edit.run import Progress
from counterflow.errors import InputError
from counterflow.images import save_png


def run(
    folder: Path,
    bench: results.Bench,
    cases: Sequence[Case],
    methods: Sequence[Method],
    setup: Setup,
    workers: int = 1,
    progress: Progress | None = None,
) -> results.Bench:
    """Fill a results folder; what it holds already is kept, what failed is tried again.

    Raises InputError, showing the difference, if the folder is of another benchmark or a method in
    it has other settings.
    """
    _agree(folder, bench, methods)
    results.write_bench(folder, bench)
    for method in methods:
        results.write_method(folder, _described(method))
    todo = [(method, task) for method in methods for task in _tasks(folder, cases, method)]
    _draw(folder, cases, todo)
    total = len(cases) * len(methods)
    done = total - sum(len(task.cases) for _, task in todo)
    known = {case.name: case for case in cases}
    tasks = [task for _, task in todo]
    for number, made in outcomes(tasks, setup, workers):
        for outcome in made:
            _write(folder, todo[number][0].name, known[outcome.case], outcome)
        done += len(made)
        if progress is not None:
            progress("edits", done, total)
    return results.read(folder)


def _tasks(folder: Path, cases: Sequence[Case], method: Method) -> list[Task]:
    """What is left to do of a method; cases of a group share an inversion."""
    tasks = []
    for _, group in groupby(sorted(cases, key=lambda c: c.group), key=lambda c: c.group):
        part = tuple(group)
        left = tuple(c for c in part if _missing(folder / method.name / f"{c.name}.json"))
        if left:
            tasks.append(Task(left, method.invert, (method.edit,), sharing=len(part)))
    order = {case.name: n for n, case in enumerate(cases)}
    return sorted(tasks, key=lambda task: order[task.cases[0].name])


def _missing(path: Path) -> bool:
    return not path.is_file() or results.read_result(path).error is not None


def _write(folder: Path, method: str, case: Case, outcome: Outcome) -> None:
    image = None
    if outcome.picture is not None:
        image = f"{case.name}.png"
        save_png(outcome.picture, folder / method / image, _carried(method, case, outcome))
    result = results.Result(
        case.name, case.category, case.source, case.target, image, outcome.figures, outcome.error
    )
    results.write_result(folder, method, result)


def _carried(method: str, case: Case, outcome: Outcome) -> dict[str, Any]:
    """The settings in a result's PNG."""
    assert outcome.edit is not None, "a benchmark makes edits"
    return {
        "command": "bench",
        "method": method,
        "case": case.name,
        "source": case.source,
        "target": case.target,
        "invert": outcome.invert.to_dict(),
        "edit": outcome.edit.to_dict(),
    }


def _draw(folder: Path, cases: Sequence[Case], todo: Sequence[tuple[Method, Task]]) -> None:
    """The sources and the true pictures of what is to be done, where they are readable."""
    asked = {case.name for _, task in todo for case in task.cases}
    for case in cases:
        if case.name not in asked:
            continue
        try:
            drawn = {"sources": case.picture(), "truths": case.truth()}
        except InputError:
            continue  # the result will say so
        for where, picture in drawn.items():
            path = folder / where / f"{case.name}.png"
            if picture is not None and not path.exists():
                save_png(picture, path, None)


def _described(method: Method) -> results.Method:
    return results.Method(
        method.name, method.title, method.paper, method.invert.to_dict(), method.edit.to_dict()
    )


def _agree(folder: Path, bench: results.Bench, methods: Sequence[Method]) -> None:
    """Refuse to mix results: other cases, another model, or a method with other settings."""
    if not (folder / "bench.json").is_file():
        ours = any(folder.glob("*/method.json")) or not folder.exists()
        if not ours and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is not an empty folder, nor one of a benchmark")
        return
    there = results.read(folder)
    names = ("cases", "seed", "profile", "model", "device", "dtype")
    _same(folder, {n: getattr(there, n) for n in names}, {n: getattr(bench, n) for n in names})
    known = {method.name: method for method in there.methods}
    for method in methods:
        if method.name in known:
            before = replace(known[method.name], results=())
            _same(folder / method.name, _flat(before), _flat(_described(method)))


def _flat(method: results.Method) -> dict[str, Any]:
    both = {f"invert {k}": v for k, v in method.invert.items()}
    both |= {f"edit {k}": v for k, v in method.edit.items()}
    as_read: dict[str, Any] = json.loads(json.dumps(both))
    return as_read


def _same(where: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    differ = [f"{k} {there.get(k)!r}, not {v!r}" for k, v in asked.items() if there.get(k) != v]
    if differ:
        raise InputError(f"{where} holds results with {'; '.join(differ)}: name another folder")
