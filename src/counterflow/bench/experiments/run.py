"""Run experiments into a results folder, and draw from it what their claims amount to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counterflow.batch.executors.base import Executor
from counterflow.bench import run as runs
from counterflow.bench.engine import Condition, Setup
from counterflow.bench.experiments import EXPERIMENTS
from counterflow.bench.experiments.base import Answers, Experiment, needed
from counterflow.bench.report.page import Section
from counterflow.bench.results import Result
from counterflow.bench.sets import cases as sets
from counterflow.bench.sets import toypie
from counterflow.bench.sets.cases import Case
from counterflow.progress import Progress


@dataclass(frozen=True)
class Sample:
    """What the experiments are run on."""

    setup: Setup
    identity: str
    seed: int
    count: int
    steps: int
    executor: Executor | None = None
    """What runs them; None for this process alone."""


@dataclass
class Finding:
    """An experiment with its figures and its conclusion."""

    experiment: Experiment
    answers: Answers
    section: Section
    needed: int | None
    """How many of its cases decide as all of them do."""
    errors: list[str]


def run(
    experiments: Sequence[Experiment],
    sample: Sample,
    folder: Path,
    progress: Progress | None = None,
) -> list[Finding]:
    """Run every condition of some experiments, once each; what the folder holds is not run again.

    Returns these experiments, and any others that the folder has all results of.
    """
    cases = drawn_from(sample)
    facts = runs.describe(sample.setup, sample.identity, sets.TOYPIE, sample.seed, None)
    bench = runs.run(
        folder,
        replace(facts, uneven=True),
        plan(experiments, cases, sample),
        sample.setup,
        sample.executor,
        progress,
    )
    results = {(m.name, result.case): result for m in bench.methods for result in m.results}
    return [
        _finding(each, cases, results, sample)
        for each in EXPERIMENTS.values()
        if each in experiments or _complete(each, cases, results, sample)
    ]


def drawn_from(sample: Sample) -> list[Case]:
    """ToyPIE's cases, of every kind as many as the sample could take: it can be of one alone."""
    return sets.read(sets.TOYPIE, sample.seed, toypie.enough(sample.count))


def plan(
    experiments: Sequence[Experiment], cases: Sequence[Case], sample: Sample
) -> dict[Condition, list[Case]]:
    """Every condition once, with the cases that any experiment puts under it."""
    chosen: dict[Condition, dict[str, Case]] = {}
    for each in experiments:
        own = {case.name: case for case in each.choose(cases, sample.count)}
        for condition in each.conditions(sample.steps).values():
            chosen.setdefault(condition, {}).update(own)
    return {condition: list(by_name.values()) for condition, by_name in chosen.items()}


Results = dict[tuple[str, str], Result]
"""By the names of condition and case."""


def _pairs(
    experiment: Experiment, cases: Sequence[Case], sample: Sample
) -> Iterator[tuple[Case, str, Condition]]:
    """Each case with each label and its condition."""
    conditions = experiment.conditions(sample.steps)
    for case in experiment.choose(cases, sample.count):
        for label, condition in conditions.items():
            yield case, label, condition


def _complete(
    experiment: Experiment, cases: Sequence[Case], results: Results, sample: Sample
) -> bool:
    """Whether there is every result of an experiment, of an earlier run perhaps."""
    keys = ((c.name, case.name) for case, _, c in _pairs(experiment, cases, sample))
    return all(key in results and results[key].error is None for key in keys)


def _finding(
    experiment: Experiment, cases: Sequence[Case], results: Results, sample: Sample
) -> Finding:
    figures, errors = {}, []
    for case, label, condition in _pairs(experiment, cases, sample):
        result = results[condition.name, case.name]
        figures[case.name, label] = result.figures
        if result.error is not None:
            errors.append(f"case {case.name}: {result.error}")
    answers = Answers(experiment.choose(cases, sample.count), figures, sample.steps)
    section = experiment.conclude(answers)
    return Finding(experiment, answers, section, needed(experiment, answers), errors)
