"""`generate` and `replay`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show, streams
from counterflow.cli.named import NamedLora, NamedModel, NamedWeights, named
from counterflow.cli.options import TOYBOX, Json, Output, Quality, opens_a_model
from counterflow.cli.outputs import check_distinct, check_output, check_picture
from counterflow.errors import InputError
from counterflow.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

    from counterflow.edit.job import ModelChoice


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (generate, replay):
        app.command()(command)


@opens_a_model
def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output,
    loading: Loading = TOYBOX,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 28,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    solver: Annotated[
        str, typer.Option(help="euler, ddim (equal but for rounding) or midpoint.")
    ] = "euler",
    inversion: Annotated[
        Path | None,
        typer.Option(help="A file (.safetensors) for the trajectory, so that `edit` can use it."),
    ] = None,
    quality: Quality = 95,
    json: Json = False,
) -> None:
    """Generate a picture from a prompt and a seed."""
    from counterflow.edit.generation import Generation
    from counterflow.edit.job import ModelChoice

    choice = ModelChoice(loading, seed)
    job = Generation(prompt, steps, guidance, width, height, choice, solver)
    job.check()
    check_picture(output, json, quality)
    if inversion is not None:
        check_output(inversion, ".safetensors")
    with show.progress() as progress:
        picture, editor, kept = job.run(progress, keep=inversion is not None)
    streams.write(picture, output, job.record(), quality)
    if inversion is not None and kept is not None:
        editor.save(kept, inversion)
    if json:
        size = {"width": picture.width, "height": picture.height}
        show.as_json({"image": str(output), **size, "settings": job.record()})
    else:
        with streams.reporting(output):
            show.line(output)


def replay(
    image: Annotated[
        Path, typer.Argument(help="A picture that counterflow made; - for standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Default: NAME.replay.png in its folder, or its own form; - for standard output.",
        ),
    ] = None,
    source_image: Annotated[
        Path | None, typer.Option("--image", help="The source picture, if it has moved.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask, if it has moved.")] = None,
    model: NamedModel = None,
    weights: NamedWeights = None,
    lora: NamedLora = None,
    device: Annotated[str | None, typer.Option(help="Default: the recorded device.")] = None,
    json: Json = False,
) -> None:
    """Make a picture again from the settings stored in it, and say whether it is the same.

    A JPEG or WebP does not keep every pixel: the new picture is compared as it comes out of such a
    file of the same quality. A picture that differs exits with code 5.
    """
    import numpy as np

    from counterflow.carriers import FORMS, QUALITY, after_storing
    from counterflow.edit.recorded import checked
    from counterflow.images import load, read_settings

    data = streams.piped(image)
    settings = checked(read_settings(data or image), image)
    before = np.asarray(load(data or image), int)
    if output is None and data is not None:
        raise InputError("a picture from standard input has no name: give -o")
    suffix = image.suffix if image.suffix.lower() in FORMS else ".png"
    output = output or image.with_suffix(f".replay{suffix}")
    quality = settings.get("quality", QUALITY)
    check_picture(output, json, quality)
    choice = _model(settings, image, model, weights, tuple(lora or ()), device)
    run = _plan(settings, choice, image, output, source_image, mask)
    with show.progress() as progress:
        picture, record = run(progress)
    streams.write(picture, output, record, quality)
    after = np.asarray(after_storing(picture, settings), int)
    difference = int(np.abs(before - after).max()) if before.shape == after.shape else None
    with streams.reporting(output):
        if json:
            facts = {"image": str(output), "largest_difference": difference}
            show.as_json(facts | {"settings": record})
        else:
            other = f"largest difference {difference} of 255"
            same = "the same picture" if difference == 0 else other
            form = settings.get("format")
            show.line(f"{output}: {same}{f', as {form} of quality {quality}' if form else ''}")
    if difference != 0:
        raise typer.Exit(show.UNFINISHED)


def _model(
    settings: dict[str, Any],
    carrier: Path,
    model: str | None,
    weights: str | None,
    lora: tuple[str, ...],
    device: str | None,
) -> ModelChoice:
    """The recorded model where it is a bundled one, or else the one that is named."""
    from counterflow.edit.job import ModelChoice

    choice = ModelChoice.from_record(settings)
    how = named(choice.loading, carrier, model, weights, lora)
    choice.loading = replace(how, device=device or how.device)
    return choice


PictureAndRecord = tuple["Image.Image", dict[str, Any]]


def _plan(
    settings: dict[str, Any],
    model: ModelChoice,
    carrier: Path,
    output: Path,
    image: Path | None,
    mask: Path | None,
) -> Callable[[Progress], PictureAndRecord]:
    """Prepare what a picture says; returns a function that makes the picture and its record.

    Raises InputError for settings that cannot be replayed and for another source or mask.
    """
    from counterflow.edit.generation import Generation
    from counterflow.edit.job import Job
    from counterflow.edit.origin import NO_FILE
    from counterflow.edit.plan import Plan

    command = settings["command"]
    if command == "generate":
        check_distinct([output], [carrier])
        generation = Generation.from_record(settings, model)
        generation.check()
        return lambda progress: (generation.run(progress)[0], generation.record())
    for name, given in (("image", image), ("mask", mask)):
        if settings[name] == NO_FILE and given is None:
            raise InputError(f"no file is known of the {name} of {carrier}: give it with --{name}")
    image = image or carrier.parent / settings["image"]
    if settings["mask"] is not None:
        mask = mask or carrier.parent / settings["mask"]
    check_distinct([output], [carrier, image, mask])
    job = Job.from_record(settings, image, mask, model)
    job.open()
    for what in ("image", "mask"):
        if not job.is_recorded(what, settings[f"{what}_sha256"]):
            raise InputError(
                f"this is not the {what} that {carrier} was made from; give it with --{what}"
            )
    plan = Plan.from_record(settings) if command == "edit" else None
    compensate = settings["compensate"]

    def run(progress: Progress) -> PictureAndRecord:
        editor = model.load()
        inversion = job.inversion(editor, progress)
        if plan is None:
            picture = editor.reconstruct(inversion, compensate, progress).image
            return picture, job.record("reconstruct", output, compensate=compensate)
        *_, (edit, _, _) = plan.run(job, editor, inversion, progress)
        said = {} if settings["trust"] is None else {"trust": settings["trust"]}
        more = plan.record(len(plan.targets) - 1) | said
        return edit.image, job.record("edit", output, **more)

    return run
