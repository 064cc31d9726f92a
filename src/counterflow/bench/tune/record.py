"""`tuned.json`: every trial of a search, and the settings that `bench --tuned` takes from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterflow.bench.files import Reader
from counterflow.bench.tune.search import Trial
from counterflow.methods.registry import changed
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


def read(path: Path, budget: int | None = None) -> dict[str, dict[str, str]]:
    """For each method its best settings, as `--set` takes them, of those within a budget.

    `budget` bounds the forwards of the first target. A method without such settings is left out.
    Raises InputError for a file that is none of `write`'s.
    """
    data = Reader(path)
    best: dict[str, dict[str, str]] = {}
    for name, trials in data.get("methods", dict).items():
        if not isinstance(trials, list):
            raise data.wrong(f"{name} has a list of trials")
        for trial in trials:
            if not isinstance(trial, dict) or not isinstance(trial.get("forwards"), int):
                raise data.wrong(f"a trial of {name} has settings and forwards")
            settings = trial.get("settings")
            if not isinstance(settings, dict):
                raise data.wrong(f"a trial of {name} has settings")
            if budget is None or trial["forwards"] <= budget:
                best[name] = {str(key): str(value) for key, value in settings.items()}
                break
    return best
