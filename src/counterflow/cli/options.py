"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.edit.settings import EditSettings, InvertSettings, Window
from counterflow.errors import InputError

ImageArg = Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP, BMP, TIFF or GIF.")]
Source = Annotated[str, typer.Option(help="A sentence that describes the picture.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the PNG goes.")]
Model = Annotated[str, typer.Option(help="toybox (bundled), a pipeline folder, or a repository.")]
Steps = Annotated[int, typer.Option(help="Steps of the grid (N).")]
Iterations = Annotated[int, typer.Option(help="Fixed-point iterations (I); 0 is Euler inversion.")]
MaskOption = Annotated[
    str | None,
    typer.Option("--mask", help="White where the edit may change the picture; or auto."),
]
Solver = Annotated[str, typer.Option(help="euler or ddim; the iterations refine either.")]
AverageWindow = Annotated[
    str | None, typer.Option(help="Which evaluations the mean takes in, as 1-3; default all.")
]
Average = Annotated[bool, typer.Option(help="Step with the mean of the iterates' velocities.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N, mps; default the best there is.")
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Seed = Annotated[
    int, typer.Option(help="Seed of every random draw (inversion and edit make none).")
]

INVERT, EDIT = InvertSettings(), EditSettings()

MOST = 10_000
"""Numbers that a list of them may name."""


def numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """`0-3,5` as numbers."""
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.extend(range(int(first), min(int(last or first), MOST) + 1))
    except ValueError:
        raise InputError(f"--{name} is written as 0-3,5, not {text!r}") from None
    if not found:
        raise InputError(f"--{name} {text!r} names no number")
    return tuple(found)


def span(name: str, text: str | None) -> tuple[int, int] | None:
    """`1-3` as the first and the last."""
    found = numbers(name, text)
    return None if found is None else (found[0], found[-1])


def window(name: str, text: str) -> Window:
    """`0.4`, or `0.2-0.8`, as a share of the steps or from which share to which."""
    try:
        return float(text)
    except ValueError:
        pass
    first, _, last = text.partition("-")
    try:
        return float(first), float(last)
    except ValueError:
        said = f"--{name} is a share of the steps, as 0.4 or 0.2-0.8"
        raise InputError(f"{said}, not {text!r}") from None


def word_windows(name: str, given: list[str]) -> tuple[tuple[str, Window], ...]:
    """`wooden=0.4` as a word and its window."""
    found = []
    for text in given:
        word, equals, share = text.partition("=")
        if not word or not equals:
            raise InputError(f"--{name} is written as wooden=0.4, not {text!r}")
        found.append((word, window(name, share)))
    return tuple(found)
