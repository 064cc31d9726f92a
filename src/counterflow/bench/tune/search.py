"""Successive halving: many settings on few cases, the better of them on more, the best on most."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterflow.bench.engine import Condition, condition
from counterflow.bench.report.summary import estimate
from counterflow.bench.results import Bench, Result
from counterflow.bench.tune.spaces import space
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.price import price

RUNGS = ((1.0, 10), (0.4, 30), (0.15, 60))
"""Share of a method's trials that come so far, and their cases then; cases before are among them.

Tens of cases hold ToyPIE's ten kinds equally.
"""
Run = Callable[[Mapping[Condition, int]], Bench]
"""Makes so many cases of each condition, and reads all that there is."""


@dataclass(frozen=True)
class Trial:
    """Settings of a method that were tried, and how well they did."""

    condition: Condition
    forwards: int
    """For the first target."""
    further: int
    cases: int
    score: float
    figures: dict[str, float]
    """Averages of what the score is made of."""


def score(results: Sequence[Result]) -> tuple[float, dict[str, float]]:
    """A product of four shares of what can be had, each 1 at best, and what it is made of.

    Success and what was kept; the way to the true picture, 1 less the median distance; and the
    background's PSNR as a share of the autoencoder's own. An edit that stopped counts as failed.
    """
    names = ("success", "kept", "distance", "PSNR", "round trip")
    figures = {name: estimate(results, name) for name in names}
    made = {name: 0.0 if value is None else value for name, value in figures.items()}
    whole = sum(1 for each in results if each.error is None) / max(1, len(results))
    if figures["distance"] is None or figures["round trip"] is None:
        return 0.0, made
    near, background = max(0.0, 1 - made["distance"]), made["PSNR"] / made["round trip"]
    return whole * made["success"] * made["kept"] * near * min(1.0, background), made


def trials(name: str, count: int, most: int, seed: int) -> list[Condition]:
    """The method as published and `count` - 1 random settings, none dearer than `most` forwards."""
    default = registry.method(name)
    values = space(name, [each.name for each in default.declared()])
    rng = random.Random(f"{seed} {name}")
    found: dict[str, Condition] = {}
    if price(default).first <= most:
        found[name] = condition(name)
    for _ in range(200 * count):
        drawn: dict[str, Any] = {}
        for key, options in values.items():
            value = rng.choice(list(options))
            drawn[key] = value(drawn) if callable(value) else value
        try:
            each = condition(name, **drawn)
        except InputError:  # settings that exclude each other
            continue
        if each.name not in found and price(each.method).first <= most:
            found[each.name] = each
        if len(found) == count:
            break
    return list(found.values())


def search(
    names: Sequence[str], count: int, most: int, seed: int, run: Run
) -> dict[str, list[Trial]]:
    """For each method all its trials, best first among those that saw most cases."""
    alive = {name: trials(name, count, most, seed) for name in names}
    cases: dict[Condition, int] = {}
    bench = None
    for part, many in RUNGS:
        if bench is not None:
            for name, conditions in alive.items():
                ranked = _ranked(bench, {each: cases[each] for each in conditions})
                alive[name] = [t.condition for t in ranked[: max(1, round(part * count))]]
        cases |= {each: many for conditions in alive.values() for each in conditions}
        bench = run(cases)
    assert bench is not None, "there are rungs"
    by_name: dict[str, dict[Condition, int]] = {name: {} for name in names}
    for each, many in cases.items():
        by_name[each.name.partition(",")[0]][each] = many
    return {name: _ranked(bench, own) for name, own in by_name.items()}


def _ranked(bench: Bench, cases: Mapping[Condition, int]) -> list[Trial]:
    """Trials of one method, those with more cases first, then by their score."""
    results = {method.name: method.results for method in bench.methods}
    made = []
    for each, many in cases.items():
        value, figures = score(results.get(each.name, ()))
        cost = price(each.method)
        made.append(Trial(each, cost.first, cost.further, many, value, figures))
    return sorted(made, key=lambda t: (-t.cases, -t.score, t.forwards, t.condition.name))
