"""The search for settings: the same for all methods, bounded, and better than chance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from counterflow.bench.engine import Condition
from counterflow.bench.results import Bench, MethodResults, Result
from counterflow.bench.tune import record
from counterflow.bench.tune.search import RUNGS, score, search, trials
from counterflow.bench.tune.spaces import COMMON, OWN, space
from counterflow.methods import registry
from counterflow.methods.price import price
from tools import Run, refused

FIGURES = {"success": 1.0, "kept": 1.0, "distance": 0.2, "PSNR": 17.0, "round trip": 34.0}


def result(case: int, error: str | None = None, **figures: float) -> Result:
    return Result(str(case), "", "a", "b", None, {**FIGURES, **figures}, error)


def test_the_score_is_a_product_of_shares() -> None:
    assert score([result(0), result(1)])[0] == pytest.approx(0.8 * 0.5)
    assert score([result(0), result(1, success=0.0)])[0] == pytest.approx(0.2)
    assert score([result(0, PSNR=40.0)])[0] == pytest.approx(0.8)
    assert score([result(0, distance=3.0)])[0] == 0
    assert score([Result("0", "", "a", "b", None, {}, "broken")])[0] == 0
    assert score([]) == (0, dict.fromkeys(FIGURES, 0.0))


@pytest.mark.parametrize("name", registry.METHODS)
def test_trials_are_settings_that_the_method_takes_within_the_price(name: str) -> None:
    """The same for the same seed, different for each trial."""
    declared = [each.name for each in registry.method(name).declared()]
    assert set(OWN.get(name, {})) <= set(declared)
    assert set(space(name, declared)) <= {*COMMON, *OWN.get(name, {})}
    made = trials(name, 3, 40, 1)
    assert made == trials(name, 3, 40, 1) and len({each.name for each in made}) == len(made) == 3
    assert all(price(each.method).first <= 40 for each in made)
    assert trials(name, 3, 40, 2) != made


def test_the_search_finds_the_best_of_its_trials() -> None:
    """On a landscape of which it sees the cases that it asked for, and no more than it says."""
    asked: list[dict[str, int]] = []

    def run(cases: Mapping[Condition, int]) -> Bench:
        asked.append({each.name: count for each, count in cases.items()})
        methods = tuple(
            MethodResults(each.name, "", "", "", {}, None, tuple(map(worth(each), range(count))))
            for each, count in cases.items()
        )
        return Bench("toypie", 0, None, "corrected", "m", "0", None, methods=methods)

    def worth(each: Condition) -> Any:
        steps = each.method.to_dict()["steps"]
        return lambda case: result(case, distance=0.1 + 0.01 * abs(steps - 8) / (1 + case / 1000))

    found = search(["euler", "uniedit"], 12, 60, 3, run)
    for name, ranked in found.items():
        tried = trials(name, 12, 60, 3)
        best = min(abs(each.method.to_dict()["steps"] - 8) for each in tried)
        assert abs(ranked[0].condition.method.to_dict()["steps"] - 8) == best
        assert {each.condition for each in ranked} == set(tried)
        assert ranked[0].cases == RUNGS[-1][1] and ranked[-1].cases == RUNGS[0][1]
        assert ranked[0].forwards == price(ranked[0].condition.method).first
    counts = [sorted(each.values()).count(RUNGS[n][1]) for n, each in enumerate(asked)]
    assert counts == [24, 2 * 5, 2 * 2]


def test_tuned_settings_are_taken_by_bench(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `tune` finds is what `bench --tuned` runs, within a budget."""
    monkeypatch.setattr("counterflow.bench.tune.search.RUNGS", ((1.0, 1), (0.5, 3)))
    rungs = ["--model", model, "--workers", "1"]
    folder = tmp_path / "tuned"
    code, out, err = run(
        *["tune", "-o", folder, "--method", "chordedit", "--trials", "1", "--most", "6"],
        *[*rungs, "--json"],
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    best = told["methods"]["chordedit"][0]
    assert best["cases"] == 3 and best["forwards"] <= 6
    path = Path(told["path"])
    assert record.read(path) == {"chordedit": best["settings"]} and record.read(path, 3) == {}
    args = ["bench", "-o", tmp_path / "b", "--limit", "1", "--tuned", path, *rungs, "--json"]
    code, out, _ = run(*args)
    (name,) = json.loads(out)["methods"]
    assert code == 0 and name == registry.variant("chordedit", best["settings"]).name
    (tmp_path / "bad.json").write_text('{"methods": {"ftedit": [{"forwards": 1}]}}')
    bad = run("bench", "-o", tmp_path / "c", "--tuned", tmp_path / "bad.json")
    refused(bad, 2, "bad.json", "settings")
    refused(run("bench", "-o", tmp_path / "c", "--budget", "3"), 2, "--tuned")
    refused(run("tune", "-o", tmp_path / "c", "--method", "nope"), 2, "nope")
    refused(run("tune", "-o", tmp_path / "c", "--trials", "0"), 2, "--trials")
