"""Run a plan over cases; every result is on disk as soon as it is there, and is made once.

Only this process writes, whatever the number of workers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterflow import __version__
from counterflow.batch.executors.base import Executor
from counterflow.batch.executors.inline import Inline
from counterflow.batch.publish import digest
from counterflow.bench import results
from counterflow.bench.engine import Attempt, Condition, Outcome, Setup, Task
from counterflow.bench.results import Bench, MethodResults
from counterflow.bench.sets.cases import Case
from counterflow.bench.workers import outcomes
from counterflow.errors import InputError
from counterflow.images import save_png
from counterflow.progress import Progress

Plan = Mapping[Condition, Sequence[Case]]
"""The cases of each condition."""


def describe(setup: Setup, identity: str, cases: str, seed: int | None, limit: int | None) -> Bench:
    """The facts of a run for its folder: `identity` is the model's, `cases` the set's label."""
    from counterflow.metrics.networks import at_hand
    from counterflow.toybox import judge

    return Bench(
        cases=cases,
        seed=seed,
        limit=limit,
        profile=setup.profile,
        model=identity,
        counterflow=__version__,
        judge=judge.accuracy()["round_trips"] if setup.judged else None,
        notes=tuple(at_hand().missing.values()),
        device=setup.loading.device,
        dtype=setup.loading.dtype,
        options={
            name: value
            for name, value in setup.loading.record().items()
            if name in ("cast", "negative")
        },
    )


def run(
    folder: Path,
    bench: Bench,
    plan: Plan,
    setup: Setup,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Fill a results folder; what it holds already is kept, what failed is tried again.

    A result whose picture is gone or altered is made again. Without an executor the work is done
    here. Raises InputError, showing the difference, if the folder is of another benchmark or of
    more cases, if a condition in it has other settings, or if a source picture has changed since.
    """
    _check_folder(folder, bench, plan)
    results.write_bench(folder, bench)
    for condition in plan:
        results.write_method(folder, _record(condition))
    tasks = _tasks(folder, plan)
    _draw(folder, {attempt.case.name: attempt.case for task in tasks for attempt in task}.values())
    total = sum(map(len, plan.values()))
    done = total - sum(map(len, tasks))
    for outcome_list in outcomes(tasks, setup, executor or Inline()):
        for outcome in outcome_list:
            _write(folder, outcome)
        done += len(outcome_list)
        if progress is not None:
            progress("cases", done, total)
    return results.read(folder)


def _tasks(folder: Path, plan: Plan) -> list[Task]:
    """What is left to do: one task for each inversion that serves cases and conditions."""
    tasks: dict[Any, list[Attempt]] = {}
    order: dict[str, int] = {}
    for condition, cases in plan.items():
        sizes: dict[str, int] = {}
        for case in cases:
            sizes[case.group] = sizes.get(case.group, 0) + 1
        for case in cases:
            order.setdefault(case.group, len(order))
            if _missing(folder / condition.name / f"{case.name}.json", case):
                key = case.group, condition.method.sharing_key
                tasks.setdefault(key, []).append(Attempt(case, condition, sizes[case.group]))
    ordered = sorted(tasks.values(), key=lambda attempts: order[attempts[0].case.group])
    return [tuple(attempts) for attempts in ordered]


def _missing(path: Path, case: Case) -> bool:
    """Whether a result is to be made, for the first time or again."""
    if not path.is_file():
        return True
    there = results.read_result(path)
    if there.error is not None:
        return True
    if there.picture is not None and there.picture != _digest(case.image):
        raise InputError(
            f"{case.image} has changed since {path.parent.parent} was begun: put it back, or name "
            "another folder"
        )
    image = None if there.image is None else path.parent / there.image
    return image is not None and there.digest is not None and _digest(image) != there.digest


def _digest(path: Path | None) -> str | None:
    return digest(path) if path is not None and path.is_file() else None


def _write(folder: Path, outcome: Outcome) -> None:
    case, condition, image = outcome.attempt.case, outcome.attempt.condition, None
    made = None
    if outcome.picture is not None:
        image = f"{case.name}.png"
        path = folder / condition.name / image
        save_png(outcome.picture, path, _settings(case, condition))
        made = digest(path)
    result = results.Result(
        case.name,
        case.category,
        case.source,
        case.target,
        image,
        outcome.figures,
        outcome.error,
        made,
        _digest(case.image),
    )
    results.write_result(folder, condition.name, result)


def _settings(case: Case, condition: Condition) -> dict[str, Any]:
    """What a result's PNG carries."""
    return {
        "command": "bench",
        "case": case.name,
        "source": case.source,
        "target": case.target,
        "method": condition.method.name,
        "settings": condition.method.to_dict(),
        "compensated": condition.compensated,
    }


def _draw(folder: Path, cases: Iterable[Case]) -> None:
    """Write the sources and the true pictures of cases, where they are readable."""
    for case in cases:
        try:
            pictures = {"sources": case.picture(), "truths": case.truth()}
        except InputError:
            continue  # the result will say so
        for where, picture in pictures.items():
            path = folder / where / f"{case.name}.png"
            if picture is not None and not path.exists():
                save_png(picture, path, None)


def _record(condition: Condition) -> MethodResults:
    method = condition.method
    return MethodResults(
        condition.name,
        condition.title,
        method.paper,
        method.name,
        method.to_dict(),
        condition.compensated,
    )


def _check_folder(folder: Path, bench: Bench, plan: Plan) -> None:
    """Refuse to mix results: other cases, another model, or a method with other settings."""
    results.check_version(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name another -o")
    if not (folder / "bench.json").is_file():
        ours = any(folder.glob("*/method.json")) or not folder.exists()
        if not ours and any(folder.iterdir()):
            raise InputError(f"{folder} is not an empty folder, nor one of a benchmark")
        return
    there = results.read(folder)
    names = ("cases", "seed", "profile", "model", "device", "dtype", "options")
    _check_same(folder, *({name: getattr(b, name) for name in names} for b in (there, bench)))
    if bench.limit is not None and bench.limit < (there.limit or math.inf):
        raise InputError(
            f"{folder} holds results of {there.limit or 'all'} cases, not of {bench.limit}: "
            "ask for as many or more, or name another folder"
        )
    stored = {method.name: method for method in there.methods}
    for record in map(_record, plan):
        if record.name in stored:
            both = (_comparable(stored[record.name]), _comparable(record))
            _check_same(folder / record.name, *both)


def _comparable(record: MethodResults) -> dict[str, Any]:
    """What decides a method's results, as JSON gives it back."""
    facts = {"method": record.method, "compensated": record.compensated} | record.settings
    as_read: dict[str, Any] = json.loads(json.dumps(facts))
    return as_read


def _check_same(where: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = dict.fromkeys([*wanted, *stored])
    differ = [
        f"{name} {stored.get(name)!r}, not {wanted.get(name)!r}"
        for name in names
        if stored.get(name) != wanted.get(name)
    ]
    if differ:
        raise InputError(f"{where} holds results with {'; '.join(differ)}: name another folder")
