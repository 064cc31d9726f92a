"""`report`: writes a benchmark's results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterflow.cli import show
from counterflow.cli.options import Json
from counterflow.cli.outputs import check_output
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.bench.results import Bench


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
    markdown: Annotated[
        bool, typer.Option(help="Print tables of the methods as Markdown; no page.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="An SVG to draw quality over cost in as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a benchmark's tables, plots and pictures as one self-contained HTML page."""
    if markdown and json:
        raise InputError("--markdown and --json exclude each other: leave one out")
    if plot is not None:
        check_output(plot, ".svg")
    from counterflow.bench.report.build import report as write
    from counterflow.bench.report.summary import summarise
    from counterflow.bench.results import read

    bench = read(folder) if markdown or json or plot is not None else None
    if bench is not None and plot is not None:
        _draw(plot, bench.edits)
    if bench is not None and markdown:
        from counterflow.bench.report.markdown import markdown as tables

        show.line(tables(bench.edits))
        return
    page = write(folder, output, pictures, bench)
    if bench is not None and json:
        show.as_json({"page": str(page)} | summarise(bench))
    else:
        show.line(page)


def _draw(path: Path, bench: Bench) -> None:
    """Quality over cost, as a file; InputError where there is nothing to compare."""
    from counterflow.bench.report.front import front
    from counterflow.bench.report.plots import alone
    from counterflow.writing import save_bytes_atomically

    sections = front(bench)
    if not sections or sections[0].plot is None:
        raise InputError("--plot compares methods: the folder needs results of two or more")
    save_bytes_atomically(path, alone(sections[0].plot).encode())
