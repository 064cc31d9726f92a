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
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from counterflow.bench.figures import FIGURES
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError
from counterflow.kinds import Number, takes
from counterflow.outside import Record, Share
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


REMEDY = "delete the file and run the benchmark again"


class _Facts(Record):
    """`bench.json`."""

    cases: str
    seed: int | None = None
    limit: int | None = None
    profile: str
    model: str
    counterflow: str
    judge: dict[str, Share] | None = None
    notes: list[str]
    device: str | None = None
    dtype: str | None = None
    options: dict[str, Any] | None = None
    uneven: bool = False


class _MethodFacts(Record):
    """`method.json`; of before methods had names of their own, with `invert` and `edit`."""

    name: str
    title: str
    paper: str
    method: str | None = None
    settings: dict[str, Any] | None = None
    compensated: bool | None = None
    invert: dict[str, Any] | None = None
    edit: dict[str, Any] | None = None


def _category(value: Any) -> Any:
    """A category's name; PIE-Bench's number stands for one, too."""
    return CATEGORIES.get(value, value) if type(value) is int else value


class _ResultFacts(Record):
    """A result's file. An infinite figure is the text "inf"."""

    case: str
    category: Annotated[str, BeforeValidator(_category)]
    source: str
    target: str
    image: str | None = None
    figures: dict[str, Any]
    error: str | None = None
    digest: str | None = None
    picture: str | None = None


def read(folder: Path) -> Bench:
    """Everything that a results folder holds, methods and cases by name.

    Raises InputError, naming the file, for whatever is missing or malformed.
    """
    path = folder / "bench.json"
    check_version(folder)
    if not path.is_file():
        raise InputError(f"{folder} holds no bench.json; give a folder that `bench` wrote")
    facts = _Facts.read(path, REMEDY).model_dump()
    methods = tuple(_method(file) for file in sorted(folder.glob("*/method.json")))
    facts |= {"notes": tuple(facts["notes"]), "options": facts["options"] or {}}
    return Bench(**facts, methods=methods)


def check_version(folder: Path) -> None:
    """Refuse the experiments of an earlier version, which kept them in one file."""
    if (folder / "answers.jsonl").is_file() and not (folder / "bench.json").is_file():
        raise InputError(
            f"{folder} holds experiments of an earlier version (answers.jsonl), which cannot be "
            "read any more: name another folder and run them again"
        )


def _method(path: Path) -> MethodResults:
    facts = _MethodFacts.read(path, REMEDY)
    if facts.name != path.parent.name:
        raise _wrong(path, f"name is {facts.name!r} but the folder is {path.parent.name!r}")
    method, settings = facts.method, facts.settings
    if settings is None and facts.invert is not None:
        method, settings = "ftedit", ftedit_settings(facts.invert, facts.edit or {})
    if method is None or settings is None:
        raise _wrong(path, f"lacks {'method' if method is None else 'settings'}")
    cases = [file for file in sorted(path.parent.glob("*.json")) if file != path]
    return MethodResults(
        facts.name,
        facts.title,
        facts.paper,
        method,
        settings,
        facts.compensated,
        tuple(read_result(file) for file in cases),
    )


def read_result(path: Path) -> Result:
    """One result's file. Raises InputError, naming the file, where it is malformed."""
    facts = _ResultFacts.read(path, REMEDY)
    case, image = facts.case, facts.image
    if case != path.stem:
        raise _wrong(path, f"case is {case!r} but the file is {path.name}")
    if image not in (None, f"{case}.png"):
        raise _wrong(path, f"image is {case}.png or null, not {image!r}")
    if unknown := set(facts.figures) - set(FIGURES):
        raise _wrong(path, f"unknown figure {', '.join(sorted(unknown))}")
    return Result(
        case,
        facts.category,
        facts.source,
        facts.target,
        image,
        {name: _figure(path, name, facts.figures.get(name)) for name in FIGURES},
        facts.error or _gone(path, image),
        facts.digest,
        facts.picture,
    )


def _gone(path: Path, image: str | None) -> str | None:
    """What is said of a result without its picture; the next run makes it again."""
    there = image is None or (path.parent / image).is_file()
    return None if there else f"its picture {image} is gone"


def _figure(path: Path, name: str, value: Any) -> float | None:
    if value is None:
        return None
    figure = FIGURES[name]
    if value == "inf" and figure.unit == "dB":
        return math.inf
    if not takes(Number(figure.low, min(figure.high, sys.float_info.max)), value):
        span = f"from {figure.low:g} to {figure.high:g}"
        raise _wrong(path, f"{name} is a number {span}, not {value!r:.60}")
    return float(value)


def _wrong(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}; {REMEDY}")
