"""`invert` and `reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.cli import figures, show
from counterflow.cli.job import Job, ModelChoice, save
from counterflow.cli.options import (
    INVERT,
    Average,
    AverageWindow,
    Device,
    Dtype,
    ImageArg,
    Iterations,
    Json,
    Model,
    Output,
    Seed,
    Solver,
    Source,
    Steps,
    span,
)
from counterflow.cli.outputs import check_distinct, check_output
from counterflow.edit.settings import InvertSettings


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (invert, reconstruct):
        app.command()(command)


def invert(
    image: ImageArg,
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the inversion goes, .safetensors.")
    ],
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Average = INVERT.average,
    average_window: AverageWindow = None,
    invert_guidance: Annotated[
        float, typer.Option(help="Guidance while inverting.")
    ] = INVERT.guidance,
    solver: Solver = INVERT.solver,
    half: Annotated[bool, typer.Option(help="Store in half precision.")] = False,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Invert a picture and store it: `edit FILE.safetensors` then costs no inversion."""
    window = span("average-window", average_window)
    settings = InvertSettings(steps, iterations, average, window, invert_guidance, solver)
    job = Job(image, source, ModelChoice(model, device, dtype, seed), invert=settings)
    check_output(output, ".safetensors")
    check_distinct([output], [image])
    job.open()
    with show.progress() as progress:
        inversion = job.inversion(job.model.load(), progress)
    inversion.save(output, half)
    if json:
        made = {"file": str(output), "megabytes": output.stat().st_size / 1e6}
        show.as_json(made | {"inversion": figures.inversion_figures(inversion)})
    else:
        print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {inversion.forwards} forwards")


def reconstruct(
    image: ImageArg,
    output: Output,
    source: Annotated[
        str | None, typer.Option(help="A sentence that describes the picture.")
    ] = None,
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Average = INVERT.average,
    average_window: AverageWindow = None,
    solver: Solver = INVERT.solver,
    compensate: Annotated[
        bool, typer.Option(help="Add the velocity compensation of stage II.")
    ] = True,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Invert a picture and make it again; exact in latents with compensation."""
    window = span("average-window", average_window)
    settings = InvertSettings(steps, iterations, average, window, solver=solver)
    job = Job(image, source, ModelChoice(model, device, dtype, seed), invert=settings)
    check_output(output)
    check_distinct([output], [image])
    job.open()
    with show.progress() as progress:
        inversion = job.inversion(job.model.load(), progress)
        made = inversion.reconstruct(compensate, progress)
    save(made.image, output, job.record("reconstruct", output, compensate=compensate))
    told = {
        "inversion": figures.inversion_figures(inversion),
        "reconstruction": {
            "image": str(output),
            "compensated": compensate,
            "latent_error": made.latent_error,
            "forwards": made.forwards,
            "seconds": made.seconds,
        },
    }
    if json:
        show.as_json(told)
    else:
        print(
            f"{output}: largest latent difference {made.latent_error:.2e}, {made.forwards} forwards"
        )
