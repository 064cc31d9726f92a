"""`cost`: what the paper's settings cost here, against the same edit with every pass computed."""

from __future__ import annotations

from typing import Annotated

import typer

from counterflow.cli import show
from counterflow.cli.options import Device, Dtype, Json, Model
from counterflow.errors import InputError


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(cost)


def cost(
    pairs: Annotated[int, typer.Option(help="Number of edits that are timed in both ways.")] = 5,
    steps: Annotated[int, typer.Option(help="Steps of the grid, N.")] = 30,
    iterations: Annotated[int, typer.Option(help="Fixed-point iterations, I.")] = 3,
    model: Model = "toybox",
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Time FTEdit against the same edit with all passes computed, as in its published code.

    A ratio below 1 is a saving: of counted forwards, and of seconds as the median over pairs.
    """
    from counterflow.backbones.registry import check_options
    from counterflow.methods import registry

    if pairs < 1:
        raise InputError(f"--pairs is 1 or more, not {pairs}")
    registry.method("ftedit", steps=steps, iterations=iterations)
    check_options(model, device, dtype)
    from counterflow.bench.cost import measure
    from counterflow.edit.editor import Editor

    with show.progress() as progress:
        editor = Editor.load(model, device, dtype)
        costs = measure(editor, pairs, steps=steps, iterations=iterations, progress=progress)
    if json:
        show.as_json(costs)
        return
    ratios = costs["ratios"]
    header = ["part", *next(iter(ratios.values()))]
    show.table(header, [[part, *row.values()] for part, row in ratios.items()])
    difference = costs["largest relative difference of latents"]
    print(f"\nlargest relative difference of the edits' latents: {difference:.0e}")
