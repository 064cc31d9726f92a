"""A benchmark's results on disk, one small file for each edit, so that a run can be resumed.

    DIR/bench.json              what was run: cases, seed, profile, model, the judge's accuracy
    DIR/sources/<case>.png      the pictures that were edited
    DIR/truths/<case>.png       the true edited pictures, where they are known
    DIR/<method>/method.json    what the method is, and its settings
    DIR/<method>/<case>.json    one edit: prompts, figures, or the error that stopped it
    DIR/<method>/<case>.png     the edited picture

An infinite PSNR is the string "inf", since JSON has no infinity. Files are written atomically: one
that is there is whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from counterflow.bench.figures import FIGURES
from counterflow.bench.stats import Interval, mean_interval
from counterflow.errors import InputError
from counterflow.images import save_bytes_atomically
from counterflow.toybox.edits import CATEGORIES


@dataclass(frozen=True)
class Result:
    """One edit of one case by one method."""

    case: str
    category: str
    source: str
    target: str
    """The prompts."""
    image: str | None
    """The edited picture's file name beside the result's; None where there is none."""
    figures: dict[str, float | None]
    """By the names of `FIGURES`; None where one does not apply or was not measured."""
    error: str | None = None

    def figure(self, name: str) -> float | None:
        """A figure by name; None where it is not there."""
        return self.figures.get(name)


@dataclass(frozen=True)
class Method:
    """A way of editing, its settings, and its results by case."""

    name: str
    title: str
    paper: str
    invert: dict[str, Any]
    edit: dict[str, Any]
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Bench:
    """What was run, and by which methods."""

    cases: str
    seed: int | None
    limit: int | None
    """Cases that were asked for, of all kinds in turn; None for all."""
    profile: str
    model: str
    counterflow: str
    judge: dict[str, float] | None
    """The judge's held-out accuracy by field; None where no judge was used."""
    notes: tuple[str, ...] = ()
    device: str | None = None
    dtype: str | None = None
    """As asked for; None for the best there is."""
    methods: tuple[Method, ...] = ()


def write_bench(folder: Path, bench: Bench) -> None:
    """Write `bench.json`. InputError where the place cannot be written, as for all writers."""
    made = asdict(replace(bench, methods=()))
    del made["methods"]
    _write(folder / "bench.json", made)


def write_method(folder: Path, method: Method) -> None:
    """Write a method's `method.json`, in the folder of its name."""
    made = asdict(replace(method, results=()))
    del made["results"]
    _write(folder / method.name / "method.json", made)


def write_result(folder: Path, method: str, result: Result) -> None:
    """Write one result. Write its picture first: a result that is there is then complete."""
    figures: dict[str, Any] = {name: result.figure(name) for name in FIGURES}
    for name, value in figures.items():
        if value is not None and math.isinf(value):
            figures[name] = "inf"
    _write(folder / method / f"{result.case}.json", asdict(result) | {"figures": figures})


def _write(path: Path, made: dict[str, Any]) -> None:
    text = json.dumps(made, indent=1, allow_nan=False)
    save_bytes_atomically(path, f"{text}\n".encode())


def read(folder: Path) -> Bench:
    """Everything that a results folder holds, methods and cases by name.

    Raises InputError, naming the file, for whatever is missing or malformed.
    """
    path = folder / "bench.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no bench.json; give a folder that `bench` wrote")
    data = Reader(path)
    notes = data.get("notes", list)
    if not all(isinstance(note, str) for note in notes):
        raise data.wrong("notes is a list of lines")
    bench = Bench(
        cases=data.get("cases", str),
        seed=data.maybe("seed", int),
        limit=data.maybe("limit", int),
        profile=data.get("profile", str),
        model=data.get("model", str),
        counterflow=data.get("counterflow", str),
        judge=_accuracy(data),
        notes=tuple(notes),
        device=data.maybe("device", str),
        dtype=data.maybe("dtype", str),
    )
    methods = tuple(_method(file) for file in sorted(folder.glob("*/method.json")))
    return replace(bench, methods=methods)


def _accuracy(data: Reader) -> dict[str, float] | None:
    judge: dict[str, float] | None = data.maybe("judge", dict)
    if judge is not None and not all(_is_number(v) and 0 <= v <= 1 for v in judge.values()):
        raise data.wrong("judge has an accuracy from 0 to 1 for each field")
    return judge


def _method(path: Path) -> Method:
    data = Reader(path)
    name = data.get("name", str)
    if name != path.parent.name:
        raise data.wrong(f"name is {name!r} but the folder is {path.parent.name!r}")
    cases = [file for file in sorted(path.parent.glob("*.json")) if file != path]
    return Method(
        name,
        data.get("title", str),
        data.get("paper", str),
        data.get("invert", dict),
        data.get("edit", dict),
        tuple(read_result(file) for file in cases),
    )


def read_result(path: Path) -> Result:
    """One result's file. Raises InputError, naming the file, where it is malformed."""
    data = Reader(path)
    case, image = data.get("case", str), data.maybe("image", str)
    if case != path.stem:
        raise data.wrong(f"case is {case!r} but the file is {path.name}")
    if image is not None and image != f"{case}.png":
        raise data.wrong(f"image is {case}.png or null, not {image!r}")
    figures = data.get("figures", dict)
    if unknown := set(figures) - set(FIGURES):
        raise data.wrong(f"unknown figure {', '.join(sorted(unknown))}")
    return Result(
        case,
        _category(data),
        data.get("source", str),
        data.get("target", str),
        image,
        {name: _figure(data, name, figures.get(name)) for name in FIGURES},
        data.maybe("error", str),
    )


def _category(data: Reader) -> str:
    """A category by name, or by PIE-Bench's number."""
    category = data.get("category", (str, int))
    if isinstance(category, str):
        return category
    if category not in CATEGORIES:
        raise data.wrong(f"category {category} is none of 0 to 9")
    return CATEGORIES[category]


def _figure(data: Reader, name: str, value: Any) -> float | None:
    known = FIGURES[name]
    if value is None:
        return None
    if value == "inf" and known.unit == "dB":
        return math.inf
    if not _is_number(value) or not math.isfinite(value) or not known.low <= value <= known.high:
        raise data.wrong(f"{name} is a number from {known.low:g} to {known.high:g}, not {value!r}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Reader:
    """A JSON object on disk, whose entries are checked as they are taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.wrong(f"cannot be read as JSON ({error})") from None
        if not isinstance(self.data, dict):
            raise self.wrong("must hold a JSON object")

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """An entry that must be there. A bool is no number."""
        if name not in self.data:
            raise self.wrong(f"lacks {name}")
        value = self.data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(SAID[each] for each in kinds)
            raise self.wrong(f"{name} must be {wanted}, not {value!r:.60}")
        return value

    def maybe(self, name: str, kind: type) -> Any:
        """An entry that may be null or absent."""
        return None if self.data.get(name) is None else self.get(name, kind)

    def wrong(self, what: str) -> InputError:
        """The error to raise; it names the file and says what to do."""
        return InputError(f"{self.path}: {what}; delete the file and run the benchmark again")


SAID = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


def summarise(bench: Bench) -> dict[str, Any]:
    """JSON-ready: for each method, over all cases and over those of each category, every figure.

    A figure has its `mean`, its 95 % interval `low` to `high`, the `count` of cases in it, how many
    are `n/a`, and how many are `exact` (an infinite PSNR), which is in neither.
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
    there = {r.category for r in results}
    known = [name for name in CATEGORIES.values() if name in there]
    return known + sorted(there.difference(known))


def _group(results: Sequence[Result]) -> dict[str, Any]:
    figures = {name: mean_interval([r.figure(name) for r in results]) for name in FIGURES}
    return {
        "cases": len(results),
        "errors": sum(r.error is not None for r in results),
        "figures": {name: _summary(interval) for name, interval in figures.items()},
    }


def _summary(interval: Interval) -> dict[str, Any]:
    made = asdict(interval)
    made["n/a"] = made.pop("missing")
    return made
