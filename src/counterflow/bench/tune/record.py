"""`tuned.json`: every trial of a search, and the settings that `bench --tuned` takes from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterflow.bench.tune.search import Trial
from counterflow.methods.registry import changed
from counterflow.outside import Count, Record
from counterflow.writing import save_bytes_atomically

NAME = "tuned.json"


def write(folder: Path, facts: Mapping[str, Any], ranked: Mapping[str, Sequence[Trial]]) -> Path:
    """Write what was searched and every method's trials, best first."""
    path = folder / NAME
    save_bytes_atomically(path, f"{json.dumps(as_dict(facts, ranked), indent=1)}\n".encode())
    return path


def as_dict(facts: Mapping[str, Any], ranked: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """The same, JSON-ready."""
    methods = {name: [_as_dict(name, trial) for trial in trials] for name, trials in ranked.items()}
    return dict(facts) | {"methods": methods}


def _as_dict(name: str, trial: Trial) -> dict[str, Any]:
    return {
        "settings": changed(name, trial.condition.method),
        "forwards": trial.forwards,
        "further": trial.further,
        "cases": trial.cases,
        "score": round(trial.score, 4),
        "figures": {key: round(value, 4) for key, value in trial.figures.items()},
    }


class _Trial(Record):
    """What `bench --tuned` takes from a trial."""

    settings: dict[str, Any]
    forwards: Count


class _Tuned(Record):
    """`tuned.json`: every method's trials, best first."""

    methods: dict[str, list[_Trial]]


def read(path: Path, budget: int | None = None) -> dict[str, dict[str, str]]:
    """For each method its best settings, as `--set` takes them, of those within a budget.

    `budget` bounds the forwards of the first target. A method without such settings is left out.
    Raises InputError for a file that is none of `write`'s.
    """
    best: dict[str, dict[str, str]] = {}
    for name, trials in _Tuned.read(path, "give a file that `tune` wrote").methods.items():
        for trial in trials:
            if budget is None or trial.forwards <= budget:
                best[name] = {key: str(value) for key, value in trial.settings.items()}
                break
    return best
