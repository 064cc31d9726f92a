"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.edit.settings import EditSettings, InvertSettings

ImageArg = Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP, BMP, TIFF or GIF.")]
Source = Annotated[str, typer.Option(help="A sentence that describes the picture.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the PNG goes.")]
Model = Annotated[str, typer.Option(help="toybox (bundled), a pipeline folder, or a repository.")]
Steps = Annotated[int, typer.Option(help="Steps of the grid (N).")]
Iterations = Annotated[int, typer.Option(help="Fixed-point iterations (I); 0 is Euler inversion.")]
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
