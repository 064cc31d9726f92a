"""The pictures of a results folder, case by case, with the worst edits first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from counterflow.bench.figures import FIGURES
from counterflow.bench.report.page import Picture, Strip
from counterflow.bench.results import Bench, MethodResults, Result
from counterflow.bench.stats import mean_interval
from counterflow.controls.align import changed_words
from counterflow.images import load

UNDER = ("kept", "distance", "PSNR", "CLIP edited")
"""Figures that stand under a picture."""


def worst_first(bench: Bench) -> list[str]:
    """Every case: those that most methods failed first, then by what was kept, then by PSNR.

    An edit that stopped with an error has failed.
    """
    by_case: dict[str, list[Result]] = {}
    for method in bench.methods:
        for result in method.results:
            by_case.setdefault(result.case, []).append(result)
    return sorted(by_case, key=lambda case: (*_merit(by_case[case]), case))


def _merit(results: Sequence[Result]) -> tuple[float, float, float]:
    """Success, share kept and PSNR over the methods; what no method has, does not count against."""
    success = [0.0 if r.error else r.figure("success") for r in results]
    means = (
        mean_interval(values, resamples=1).estimate
        for values in (success, *([r.figure(k) for r in results] for k in ("kept", "PSNR")))
    )
    one, two, three = (math.inf if mean is None else mean for mean in means)
    return one, two, three


def strips(folder: Path, bench: Bench, cases: Sequence[str]) -> list[Strip]:
    """For each case: source, truth where there is one, and each method's edit.

    Raises InputError, naming the file, for a damaged picture; one that is not there is left empty.
    """
    by_method = [{result.case: result for result in method.results} for method in bench.methods]
    result_strips = []
    for case in cases:
        pairs = [
            (m, by[case]) for m, by in zip(bench.methods, by_method, strict=True) if case in by
        ]
        first = pairs[0][1]
        pictures = [Picture(_picture(folder / "sources" / f"{case}.png"), "source")]
        if (truth := _picture(folder / "truths" / f"{case}.png")) is not None:
            pictures.append(Picture(truth, "truth"))
        pictures += [_edited(folder, method, result) for method, result in pairs]
        gone = changed_words(first.target, first.source)
        new = changed_words(first.source, first.target)
        sentences = [("source", first.source, gone), ("target", first.target, new)]
        result_strips.append(Strip(f"{first.category} · {case}", sentences, pictures))
    return result_strips


def _edited(folder: Path, method: MethodResults, result: Result) -> Picture:
    image = _picture(folder / method.name / result.image) if result.image else None
    success = result.figure("success")
    good = None if success is None else success == 1
    return Picture(image, method.title, good, [result.error] if result.error else _lines(result))


def _lines(result: Result) -> list[str]:
    """The figures under a picture, as "PSNR 23.1 dB"."""
    lines = []
    for name in UNDER:
        value, figure = result.figure(name), FIGURES[name]
        if value is not None:
            number = "∞" if math.isinf(value) else f"{value:.{figure.digits}f}"
            lines.append(f"{name} {number} {figure.unit}".strip())
    return lines


def _picture(path: Path) -> Image.Image | None:
    return load(path) if path.exists() else None
