"""`report`: writes a benchmark's results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.cli import show
from counterflow.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(report)


def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `bench` or `experiments` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; default report.html in the folder."),
    ] = None,
    pictures: Annotated[int, typer.Option(help="Number of cases to show, the worst first.")] = 60,
    json: Json = False,
) -> None:
    """Write a benchmark's tables, plots and pictures as one self-contained HTML page."""
    from counterflow.bench.report.build import report as write
    from counterflow.bench.report.summary import summarise
    from counterflow.bench.results import read

    page = write(folder, output, pictures)
    if json:
        show.as_json({"page": str(page)} | summarise(read(folder)))
    else:
        print(page)
