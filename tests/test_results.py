"""Results on disk, and their summary."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterflow.bench.figures import FIGURES
from counterflow.bench.report.summary import summarise
from counterflow.bench.results import read, write_bench, write_method, write_result
from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES


def test_what_is_written_is_read(tmp_path: Path, few: Path) -> None:
    bench = read(few)
    first = bench.methods[0]
    odd = replace(
        first.results[0],
        figures=first.results[0].figures | {"PSNR": math.inf, "success": None},
        target='a "cat" <b>&</b> 猫',
    )
    method = replace(first, results=(odd, *first.results[1:]))
    write_bench(tmp_path / "copy", bench)
    write_method(tmp_path / "copy", method)
    for result in method.results:
        write_result(tmp_path / "copy", method.name, result)
    assert read(tmp_path / "copy") == replace(bench, methods=(method,))
    assert '"PSNR": "inf"' in (tmp_path / "copy" / method.name / f"{odd.case}.json").read_text()


def test_a_category_may_be_a_number_of_pie_bench(few: Path) -> None:
    path = sorted((few / "firm").glob("5*.json"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"category": 5}))
    assert {r.category for r in read(few).methods[0].results} == set(CATEGORIES.values())


def test_the_summary_is_the_averages_of_what_is_known(results: Path) -> None:
    bench = read(results)
    summary = summarise(bench)
    assert json.loads(json.dumps(summary)) == summary
    assert list(summary["methods"]) == ["firm", "ftedit", "naive"]
    for method in bench.methods:
        told = summary["methods"][method.name]
        assert list(told["categories"]) == list(CATEGORIES.values())
        for name, group in (told["categories"] | {None: told["all"]}).items():
            chosen = [r for r in method.results if name in (None, r.category)]
            assert group["cases"] == len(chosen) == (60 if name is None else 6)
            for figure in FIGURES:
                values = [r.figures[figure] for r in chosen]
                known = [v for v in values if v is not None and math.isfinite(v)]
                row = group["figures"][figure]
                average = np.median if figure == "distance" else np.mean
                estimate = row["median" if figure == "distance" else "mean"]
                assert estimate == (pytest.approx(average(known)) if known else None)
                assert (row["count"], row["n/a"]) == (len(known), values.count(None))
                assert row["exact"] == values.count(math.inf)
    assert summary["methods"]["naive"]["all"]["errors"] == 1
    assert summary["methods"]["ftedit"]["all"]["errors"] == 0


SPOILED: list[tuple[str, Any, str]] = [
    ("bench.json", "{", "is not JSON"),
    ("bench.json", [], "must be an object, not []"),
    ("bench.json", {"profile": None}, "profile must be a valid string, not None"),
    ("bench.json", {"seed": "x"}, "seed must be a valid integer, not 'x'"),
    ("bench.json", {"judge": {"kind": 1.2}}, "judge.kind must be less than or equal to 1, not 1.2"),
    ("bench.json", {"notes": [1]}, "notes[0] must be a valid string, not 1"),
    ("firm/method.json", {"name": "other"}, "the folder is 'firm'"),
    ("firm/method.json", {"settings": []}, "settings must be a valid dictionary"),
    ("firm/method.json", {"method": None}, "lacks method"),
    ("firm/method.json", {"compensated": 2}, "compensated must be a valid boolean, not 2"),
    ("firm/CASE.json", {"case": "other"}, "case is 'other'"),
    ("firm/CASE.json", {"image": "../../secret.png"}, "or null"),
    ("firm/CASE.json", {"category": 10}, "category must be a valid string, not 10"),
    ("firm/CASE.json", {"category": True}, "category must be a valid string, not True"),
    ("firm/CASE.json", {"figures": {"likes": 1}}, "unknown figure likes"),
    ("firm/CASE.json", {"figures": {"success": 1.5}}, "success is a number from 0 to 1"),
    ("firm/CASE.json", {"figures": {"success": True}}, "success is a number"),
    ("firm/CASE.json", {"figures": {"kept": "inf"}}, "kept is a number"),
    ("firm/CASE.json", {"figures": {"PSNR": math.nan}}, "NaN is no number"),
    ("firm/CASE.json", {"figures": {"PSNR": 10**400}}, "PSNR is a number"),
    ("firm/CASE.json", {"figures": {"PSNR": math.inf}}, "Infinity is no number"),
]


@pytest.mark.parametrize(("name", "change", "message"), SPOILED)
def test_what_is_malformed_is_named(few: Path, name: str, change: Any, message: str) -> None:
    case = min(path.stem for path in (few / "firm").glob("[0-9]*.json"))
    path = few / name.replace("CASE", case)
    if isinstance(change, dict):
        change = json.loads(path.read_text()) | change
    path.write_text(change if isinstance(change, str) else json.dumps(change))
    with pytest.raises(InputError, match=re.escape(message)) as told:
        read(few)
    assert str(path) in str(told.value)


def test_a_missing_entry_is_named(few: Path) -> None:
    path = few / "firm" / "method.json"
    path.write_text('{"name": "firm"}')
    with pytest.raises(InputError, match="lacks title"):
        read(few)


def test_an_old_record_is_ftedits(few: Path) -> None:
    """Before methods had names of their own, an inversion and an edit said it."""
    path = few / "firm" / "method.json"
    data = json.loads(path.read_text())
    del data["settings"], data["method"], data["compensated"]
    data["invert"] = {"steps": 15, "window": [1, 2], "guidance": 1.5}
    data["edit"] = {"guidance": 3.0, "exact_background": False}
    path.write_text(json.dumps(data))
    firm = next(method for method in read(few).methods if method.name == "firm")
    assert (firm.method, firm.compensated) == ("ftedit", None)
    assert firm.settings == {
        "steps": 15, "average_span": [1, 2], "invert_guidance": 1.5, "guidance": 3.0
    }  # fmt: skip
    path.write_text(json.dumps(data | {"edit": []}))
    with pytest.raises(InputError, match="edit must be a valid dictionary"):
        read(few)


def test_old_experiments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"earlier version \(answers.jsonl\)"):
        read(tmp_path)
