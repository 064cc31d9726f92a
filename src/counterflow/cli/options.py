"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.errors import InputError

ImageArg = Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP, BMP, TIFF or GIF.")]
Source = Annotated[str, typer.Option(help="A sentence that describes the picture.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the PNG goes.")]
Model = Annotated[
    str, typer.Option(help="toybox or toybox-flux, a pipeline folder, or a repository.")
]
Steps = Annotated[int | None, typer.Option(help="Steps of the grid, N; as --set steps=N.")]
MethodName = Annotated[
    str | None, typer.Option("--method", help="Which method; `counterflow methods` lists them.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of the method, as iterations=1; may be repeated. "
        "`counterflow methods NAME` lists them.",
    ),
]
SetSome = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of every method, as steps=10, or of one, as euler:steps=10; "
        "may be repeated.",
    ),
]
Tuned = Annotated[
    Path | None,
    typer.Option(help="Settings that `tune` found: the file; its methods if no --method."),
]
Budget = Annotated[int | None, typer.Option(help="With --tuned, most forwards of the settings.")]
MaskOption = Annotated[
    str | None,
    typer.Option("--mask", help="White where the edit may change the picture; or auto."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N, mps; default the best there is.")
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the model's blocks first: minutes once, then faster on a GPU."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw; many methods make none.")]


def settings(given: list[str] | None, **shared: float | None) -> dict[str, str]:
    """The settings that `--set` and the shared options give a method, as text."""
    return {name: str(n) for name, n in shared.items() if n is not None} | pairs(given)


def pairs(given: list[str] | None) -> dict[str, str]:
    """`steps=10` as a setting and the text of its value."""
    texts = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"--set is written as steps=10, not {text!r:.80}")
        texts[name.strip().replace("-", "_")] = value
    return texts
