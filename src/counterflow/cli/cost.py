"""`bench cost`: what methods cost on one model."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.options import TOYBOX, Json, opens_a_model
from counterflow.errors import InputError

EXPLAINED = """
first, further: forwards for the first target, its inversion included, and for each further one in
a batch. time: of loop, hooks and forwards, as a multiple of the bare forwards in the same batches;
processor: the same of processor time, which other work on the machine disturbs less; encoders too:
with text encoders and autoencoder; of all passes: of the time of `ftedit, all passes`. memory:
peak, weights included, as a multiple of plain guided generation in the largest batch; without
weights: the same of what is beyond them."""
COLUMNS = (
    *("first", "further", "time", "processor", "encoders too", "of all passes", "memory"),
    "without weights",
)


@opens_a_model
def cost(
    scenes: Annotated[int, typer.Option(help="Scenes that are timed, after one to warm up.")] = 3,
    steps: Annotated[int, typer.Option(help="FTEdit's steps of the grid, N.")] = 30,
    iterations: Annotated[int, typer.Option(help="Its fixed-point iterations, I.")] = 3,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Measure forwards, time and memory of FTEdit, `paired` and FlowEdit.

    Beside them FTEdit in the order of its published code, with all passes computed.
    """
    from counterflow.methods import registry

    if scenes < 1:
        raise InputError(f"--scenes is 1 or more, not {scenes}")
    registry.method("ftedit", steps=steps, iterations=iterations)
    loading.check()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells that it starts and stops
    from counterflow.bench.cost import measure, methods
    from counterflow.edit.editor import Editor

    with show.progress() as progress:
        editor = Editor.load(loading)
        costs = measure(editor, methods(steps, iterations), scenes, progress=progress)
    if json:
        show.as_json(costs | {"compiled": loading.compile})
        return
    show.table(["method", *COLUMNS], [[name, *_cells(m)] for name, m in costs["methods"].items()])
    show.line(EXPLAINED)
    difference = costs["largest relative difference of latents"]
    show.line(
        f"Largest relative difference of ftedit's edits from those of all passes: {difference:.0e}"
    )
    if not costs["device"].startswith("cpu"):
        return
    show.line("Measured on a CPU; what it is at the size of SD3.5 on a GPU has not been measured.")


def _cells(method: dict[str, Any]) -> list[float | None]:
    names = ("time with encoders", "time of all passes")
    times = [*method["time"].values(), *(method[name]["wall"] for name in names)]
    memory = method["memory"] or {"ratio": None, "without weights": None}
    forwards = method["forwards"]["first"], method["forwards"]["further"]
    return [*forwards, *times, memory["ratio"], memory["without weights"]]
