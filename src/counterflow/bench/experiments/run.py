"""Put the experiments' questions to the benchmark, remember every answer, write the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from counterflow.bench import cases as sets
from counterflow.bench.cases import Case
from counterflow.bench.engine import Figures, Outcome, Setup, Task
from counterflow.bench.experiments import EXPERIMENTS
from counterflow.bench.experiments.base import Answers, Experiment, Query
from counterflow.bench.page import Section
from counterflow.bench.workers import outcomes
from counterflow.edit.run import Progress
from counterflow.errors import InputError
from counterflow.images import save_png

SHOWN = 2
"""Cases of each experiment whose pictures are kept."""


@dataclass(frozen=True)
class Sample:
    """What the experiments are run on."""

    setup: Setup
    identity: str
    seed: int
    count: int
    steps: int
    workers: int = 1


@dataclass
class Found:
    """An experiment with its answers and its conclusion."""

    experiment: Experiment
    answers: Answers
    section: Section


Key = tuple[str, str]
"""Case, and the query as JSON."""


def run(
    experiments: Sequence[Experiment],
    sample: Sample,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[list[Found], Store]:
    """Answer every query of some experiments, once each; those in the folder are not put again.

    Returns these experiments, and any others that the folder answers, with the folder.
    """
    store = Store(folder, sample)
    cases = sets.read(sets.TOYPIE, sample.seed)
    asked: dict[Key, tuple[Case, Query]] = {}
    kept: set[Key] = set()
    chosen = {each.name: each.choose(cases, sample.count) for each in experiments}
    for each in experiments:
        for n, case in enumerate(chosen[each.name]):
            for query in each.queries(sample.steps).values():
                key = (case.name, written(query))
                asked[key] = (case, query)
                if n < SHOWN and query.edit is not None:
                    kept.add(key)
    todo = [both for key, both in asked.items() if key not in store.figures]
    tasks, done = grouped(todo), len(asked) - len(todo)
    for _, made in outcomes(tasks, sample.setup, sample.workers):
        for outcome in made:
            store.add(outcome, kept)
        done += len(made)
        if progress is not None:
            progress("experiments", done, len(asked))
    answered = [each for each in EXPERIMENTS.values() if _complete(each, cases, store, sample)]
    names = {each.name for each in [*experiments, *answered]}
    return [
        _found(each, each.choose(cases, sample.count), store, sample)
        for each in EXPERIMENTS.values()
        if each.name in names
    ], store


def _complete(experiment: Experiment, cases: Sequence[Case], store: Store, sample: Sample) -> bool:
    """Whether the folder holds every answer of an experiment, of an earlier run perhaps."""
    return all(
        (case.name, written(query)) in store.figures
        for case in experiment.choose(cases, sample.count)
        for query in experiment.queries(sample.steps).values()
    )


def _found(experiment: Experiment, cases: Sequence[Case], store: Store, sample: Sample) -> Found:
    queries = experiment.queries(sample.steps)
    figures = {
        (case.name, label): store.figures.get((case.name, written(query)), {})
        for case in cases
        for label, query in queries.items()
    }
    answers = Answers(cases, figures, sample.steps)
    return Found(experiment, answers, experiment.conclude(answers))


def written(query: Query) -> str:
    """A query as one line of JSON."""
    edit = None if query.edit is None else query.edit.to_dict()
    made = {"invert": query.invert.to_dict(), "edit": edit, "compensated": query.compensated}
    return json.dumps(made, sort_keys=True)


def grouped(todo: Sequence[tuple[Case, Query]]) -> list[Task]:
    """Tasks of which each inverts a case once and answers all that hangs on it."""
    groups: dict[tuple[str, Any], list[tuple[Case, Query]]] = {}
    for case, query in todo:
        groups.setdefault((case.name, query.invert), []).append((case, query))
    return [
        Task(
            (part[0][0],),
            part[0][1].invert,
            tuple(q.edit for _, q in part if q.edit is not None),
            tuple(q.compensated for _, q in part if q.compensated is not None),
        )
        for part in groups.values()
    ]


class Store:
    """Answers on disk, a line of JSON each, and some of their pictures.

    A line that was cut short by a stop is not read; its query is put again. Raises InputError if
    the folder is another sample's.
    """

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.folder, self.path = folder, folder / "answers.jsonl"
        self.figures: dict[Key, Figures] = {}
        self.errors: list[str] = []
        head = {"model": sample.identity, "seed": sample.seed}
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        lines = list(self._lines())
        if lines and lines[0] != head:
            there = f"{self.path} holds answers of {lines[0]}"
            raise InputError(f"{there}, not of {head}: name another -o")
        for line in lines[1:]:
            self.figures[line["case"], line["query"]] = line["figures"]
        if not lines:
            self._append(head)

    def add(self, outcome: Outcome, kept: set[Key]) -> None:
        """Write an answer. An error leaves no figures, and is not written: a later run retries."""
        query = written(Query(outcome.invert, outcome.edit, outcome.compensated))
        key = (outcome.case, query)
        self.figures[key] = outcome.figures
        if outcome.error is not None:
            self.errors.append(f"case {outcome.case}: {outcome.error}")
            return
        if key in kept and outcome.picture is not None:
            save_png(outcome.picture, self.picture_path(key), None)
        self._append({"case": outcome.case, "query": query, "figures": outcome.figures})

    def picture_path(self, key: Key) -> Path:
        """Where an answer's picture lies."""
        digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
        return self.folder / "pictures" / f"{digest}.png"

    def picture(self, key: Key) -> Image.Image | None:
        """An answer's picture, if it was kept."""
        path = self.picture_path(key)
        return Image.open(path) if path.is_file() else None

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        for line in self.path.read_text().splitlines(keepends=True):
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def _append(self, line: dict[str, Any]) -> None:
        broken = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a") as file:
            file.write(("\n" if broken else "") + json.dumps(line) + "\n")
