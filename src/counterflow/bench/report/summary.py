"""A run in numbers: for each method, over all cases and over those of each category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from counterflow.bench.figures import FIGURES, averaged
from counterflow.bench.results import Bench, Result
from counterflow.bench.stats import Interval
from counterflow.toybox.edits import CATEGORIES


def summarise(bench: Bench) -> dict[str, Any]:
    """JSON-ready: for each method, over all cases and over those of each category, every figure.

    A figure has its `mean` or `median`, as it is declared, its 95 % interval `low` to `high`, the
    `count` of cases in it, how many are `n/a`, and how many are `exact` (an infinite PSNR), which
    is in neither.
    """
    facts = {
        "cases": bench.cases,
        "seed": bench.seed,
        "limit": bench.limit,
        "profile": bench.profile,
        "model": bench.model,
        "counterflow": bench.counterflow,
        "device": bench.device,
        "dtype": bench.dtype,
        "judge": bench.judge,
        "notes": list(bench.notes),
    }
    methods = {
        method.name: {
            "title": method.title,
            "all": _group(method.results),
            "categories": {
                name: _group([r for r in method.results if r.category == name])
                for name in categories(method.results)
            },
        }
        for method in bench.methods
    }
    errors = (r.error for method in bench.methods for r in method.results if r.error)
    return facts | {"first error": next(errors, None), "methods": methods}


def categories(results: Sequence[Result]) -> list[str]:
    """The categories that occur: PIE-Bench's in its order, then any others by name."""
    occurring = {r.category for r in results}
    numbered = [name for name in CATEGORIES.values() if name in occurring]
    return numbered + sorted(occurring.difference(numbered))


def _group(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "cases": len(results),
        "errors": sum(r.error is not None for r in results),
        "figures": {name: numbers(name, average(results, name)) for name in FIGURES},
    }


def average(results: Sequence[Result], name: str) -> Interval:
    """A figure's mean or median over results."""
    return averaged(name, [result.figure(name) for result in results])


def estimate(results: Sequence[Result], name: str) -> float | None:
    """The same without its interval, which costs far more."""
    return averaged(name, [result.figure(name) for result in results], resamples=1).estimate


def numbers(name: str, interval: Interval) -> dict[str, Any]:
    """A figure's interval, JSON-ready."""
    bounds = asdict(interval)
    estimate, missing = bounds.pop("estimate"), bounds.pop("missing")
    return {FIGURES[name].average: estimate} | bounds | {"n/a": missing}
