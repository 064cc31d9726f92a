"""A benchmark's results on disk, one small file for each edit, so that a run can be resumed.

    DIR/bench.json              what was run: cases, seed, profile, model, the judge's accuracy
    DIR/sources/<case>.png      the pictures that were edited
    DIR/truths/<case>.png       the true edited pictures, where they are known
    DIR/<name>/method.json      a method and its settings, and whether it edits or reconstructs
    DIR/<name>/<case>.json      one edit or reconstruction: prompts, figures, or the error
    DIR/<name>/<case>.png       its picture

An infinite PSNR is the string "inf", since JSON has no infinity. Files are written atomically: one
that is there is whole.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from counterflow.bench.figures import FIGURES
from counterflow.bench.files import Reader
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES
from counterflow.writing import save_bytes_atomically


@dataclass(frozen=True)
class Result:
    """One edit of one case by one method, or one reconstruction of its source."""

    case: str
    category: str
    source: str
    target: str
    """The prompts."""
    image: str | None
    """The picture's file name beside the result's; None where there is none."""
    figures: dict[str, float | None]
    """By the names of `FIGURES`; None where one does not apply or was not measured."""
    error: str | None = None
    digest: str | None = None
    """SHA-256 of the picture's file."""
    picture: str | None = None
    """SHA-256 of the source picture's file; None of one that is rendered."""

    def figure(self, name: str) -> float | None:
        """A figure by name; None where it is not there."""
        return self.figures.get(name)


@dataclass(frozen=True)
class MethodResults:
    """A method with its settings, and its results by case."""

    name: str
    """Of its folder: the method's name and the settings that were changed."""
    title: str
    paper: str
    method: str
    settings: dict[str, Any]
    """As `methods.registry.from_record` takes both."""
    compensated: bool | None = None
    """For reconstructions, whether with velocity compensation; None for edits."""
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
    options: dict[str, Any] = field(default_factory=dict)
    """What else decides the pictures, as `Loading.record` tells it: a negative prompt, a cast."""
    uneven: bool = False
    """Whether methods were given different cases, as experiments give them."""
    methods: tuple[MethodResults, ...] = ()

    @property
    def edits(self) -> Bench:
        """The same without reconstructions."""
        return replace(self, methods=tuple(m for m in self.methods if m.compensated is None))


def write_bench(folder: Path, bench: Bench) -> None:
    """Write `bench.json`. InputError where the place cannot be written, as for all writers."""
    facts = asdict(replace(bench, methods=()))
    del facts["methods"]
    _write(folder / "bench.json", facts)


def write_method(folder: Path, method: MethodResults) -> None:
    """Write a method's `method.json`, in the folder of its name."""
    facts = asdict(replace(method, results=()))
    del facts["results"]
    _write(folder / method.name / "method.json", facts)


def write_result(folder: Path, method: str, result: Result) -> None:
    """Write one result. Write its picture first: a result that is there is then complete."""
    figures: dict[str, Any] = {name: result.figure(name) for name in FIGURES}
    for name, value in figures.items():
        if value is not None and math.isinf(value):
            figures[name] = "inf"
    _write(folder / method / f"{result.case}.json", asdict(result) | {"figures": figures})


def _write(path: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1, allow_nan=False)
    save_bytes_atomically(path, f"{text}\n".encode())


def read(folder: Path) -> Bench:
    """Everything that a results folder holds, methods and cases by name.

    Raises InputError, naming the file, for whatever is missing or malformed.
    """
    path = folder / "bench.json"
    check_version(folder)
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
        options=data.maybe("options", dict) or {},
        uneven=data.data.get("uneven") is True,
    )
    methods = tuple(_method(file) for file in sorted(folder.glob("*/method.json")))
    return replace(bench, methods=methods)


def check_version(folder: Path) -> None:
    """Refuse the experiments of an earlier version, which kept them in one file."""
    if (folder / "answers.jsonl").is_file() and not (folder / "bench.json").is_file():
        raise InputError(
            f"{folder} holds experiments of an earlier version (answers.jsonl), which cannot be "
            "read any more: name another folder and run them again"
        )


def _accuracy(data: Reader) -> dict[str, float] | None:
    judge: dict[str, float] | None = data.maybe("judge", dict)
    if judge is not None and not all(_is_number(v) and 0 <= v <= 1 for v in judge.values()):
        raise data.wrong("judge has an accuracy from 0 to 1 for each field")
    return judge


def _method(path: Path) -> MethodResults:
    data = Reader(path)
    name = data.get("name", str)
    if name != path.parent.name:
        raise data.wrong(f"name is {name!r} but the folder is {path.parent.name!r}")
    cases = [file for file in sorted(path.parent.glob("*.json")) if file != path]
    return MethodResults(
        name,
        data.get("title", str),
        data.get("paper", str),
        *_settings(data),
        tuple(read_result(file) for file in cases),
    )


def _settings(data: Reader) -> tuple[str, dict[str, Any], bool | None]:
    """Method, settings and `compensated`; of before methods had names of their own, FTEdit's."""
    if "settings" not in data.data and "invert" in data.data:
        old = ftedit_settings(data.get("invert", dict), data.get("edit", dict))
        return "ftedit", old, None
    compensated = data.data.get("compensated")
    if compensated not in (None, True, False):
        raise data.wrong(f"compensated must be true, false or null, not {compensated!r:.60}")
    return data.get("method", str), data.get("settings", dict), compensated


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
        data.maybe("error", str) or _gone(path, image),
        data.maybe("digest", str),
        data.maybe("picture", str),
    )


def _gone(path: Path, image: str | None) -> str | None:
    """What is said of a result without its picture; the next run makes it again."""
    there = image is None or (path.parent / image).is_file()
    return None if there else f"its picture {image} is gone"


def _category(data: Reader) -> str:
    """A category by name, or by PIE-Bench's number."""
    category = data.get("category", (str, int))
    if isinstance(category, str):
        return category
    if category not in CATEGORIES:
        raise data.wrong(f"category {category} is none of 0 to 9")
    return CATEGORIES[category]


def _figure(data: Reader, name: str, value: Any) -> float | None:
    if value is None:
        return None
    figure = FIGURES[name]
    if value == "inf" and figure.unit == "dB":
        return math.inf
    if not _is_number(value) or not math.isfinite(value) or not figure.low <= value <= figure.high:
        span = f"from {figure.low:g} to {figure.high:g}"
        raise data.wrong(f"{name} is a number {span}, not {value!r}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
