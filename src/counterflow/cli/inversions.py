"""`invert` and `reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import figures, show, streams
from counterflow.cli.options import (
    TOYBOX,
    ImageArg,
    Json,
    MethodName,
    Output,
    Quality,
    Seed,
    Set,
    Source,
    Steps,
    opens_a_model,
    settings,
)
from counterflow.cli.outputs import check_distinct, check_output, check_picture, check_room
from counterflow.errors import InputError


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (invert, reconstruct):
        app.command()(command)


@opens_a_model
def invert(
    image: ImageArg,
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The inversion's file, .safetensors.")
    ],
    method: MethodName = None,
    change: Set = None,
    steps: Steps = None,
    half: Annotated[bool, typer.Option(help="Store in half precision.")] = False,
    loading: Loading = TOYBOX,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Invert a picture and store it; `edit FILE.safetensors` then needs no inversion."""
    texts = settings(change, steps=steps)
    from counterflow.edit.job import Job, ModelChoice

    job = Job(image, source, ModelChoice(loading, seed), method, texts=texts)
    check_output(output, ".safetensors")
    check_distinct([output], [image])
    job.data = streams.piped(image)
    job.open()
    if job.method.inversion is None:
        raise InputError(f"{job.method.name} inverts nothing: there is nothing to store")
    with show.progress() as progress:
        editor = job.model.load()
        inversion = job.inversion(editor, progress)
    editor.save(inversion, output, half)
    if json:
        file = {"file": str(output), "megabytes": output.stat().st_size / 1e6}
        show.as_json(file | {"inversion": figures.inversion_figures(inversion)})
    else:
        show.line(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {inversion.forwards} forwards")


@opens_a_model
def reconstruct(
    image: ImageArg,
    output: Output,
    source: Annotated[
        str | None, typer.Option(help="A sentence that describes the picture.")
    ] = None,
    method: MethodName = None,
    change: Set = None,
    steps: Steps = None,
    compensate: Annotated[
        bool, typer.Option(help="Add the velocity compensation of stage II.")
    ] = True,
    loading: Loading = TOYBOX,
    seed: Seed = 0,
    quality: Quality = 95,
    json: Json = False,
) -> None:
    """Invert a picture and make it again; with compensation its latent is exact."""
    texts = settings(change, steps=steps)
    from counterflow.edit.job import Job, ModelChoice

    job = Job(image, source, ModelChoice(loading, seed), method, texts=texts)
    check_picture(output, json, quality)
    check_distinct([output], [image])
    job.data = streams.piped(image)
    job.open()
    if job.method.inversion is None:
        raise InputError(
            f"{job.method.name} inverts nothing: choose a method that inverts the picture"
        )
    check_room(output, job.picture, job.record("reconstruct", output))
    with show.progress() as progress:
        editor = job.model.load()
        inversion = job.inversion(editor, progress)
        result = editor.reconstruct(inversion, compensate, progress)
    record = job.record("reconstruct", output, compensate=compensate)
    streams.write(result.image, output, record, quality)
    if not json:
        error = f"largest latent difference {result.latent_error:.2e}"
        with streams.reporting(output):
            show.line(f"{output}: {error}, {result.forwards} forwards")
            figures.print_size(inversion)
        return
    show.as_json(
        {
            "inversion": figures.inversion_figures(inversion),
            "reconstruction": {
                "image": str(output),
                "compensated": compensate,
                "latent_error": result.latent_error,
                "forwards": result.forwards,
                "seconds": result.seconds,
            },
        }
    )
