"""`generate` and `replay`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.options import TOYBOX, Json, Output, opens_a_model
from counterflow.cli.outputs import check_distinct, check_output
from counterflow.errors import InputError
from counterflow.progress import Progress

if TYPE_CHECKING:
    from PIL import Image


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
    json: Json = False,
) -> None:
    """Generate a picture from a prompt and a seed."""
    from counterflow.edit.job import Generation, ModelChoice
    from counterflow.images import save_png

    choice = ModelChoice(loading, seed)
    job = Generation(prompt, steps, guidance, width, height, choice, solver)
    job.check()
    check_output(output)
    if inversion is not None:
        check_output(inversion, ".safetensors")
    with show.progress() as progress:
        picture, editor, kept = job.run(progress, keep=inversion is not None)
    save_png(picture, output, job.record())
    if inversion is not None and kept is not None:
        editor.save(kept, inversion)
    if json:
        size = {"width": picture.width, "height": picture.height}
        show.as_json({"image": str(output), **size, "settings": job.record()})
    else:
        print(output)


def replay(
    image: Annotated[Path, typer.Argument(help="A PNG that counterflow made.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: NAME.replay.png in its folder.")
    ] = None,
    source_image: Annotated[
        Path | None, typer.Option("--image", help="The source picture, if it has moved.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask, if it has moved.")] = None,
    device: Annotated[str | None, typer.Option(help="Default: the recorded device.")] = None,
    json: Json = False,
) -> None:
    """Make a picture again from the settings stored in it, and say whether it is the same."""
    import numpy as np

    from counterflow.images import load, read_settings, save_png

    settings = read_settings(image)
    before = np.asarray(load(image), int)
    output = output or image.with_suffix(".replay.png")
    check_output(output)
    try:
        settings["device"] = device or settings.get("device")
        run = _plan(settings, image, output, source_image, mask)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{image} stores settings that cannot be read ({error!r}); give another PNG"
        ) from None
    with show.progress() as progress:
        picture, record = run(progress)
    save_png(picture, output, record)
    after = np.asarray(picture, int)
    difference = int(np.abs(before - after).max()) if before.shape == after.shape else None
    if json:
        show.as_json({"image": str(output), "largest_difference": difference, "settings": record})
    else:
        same = "the same picture" if difference == 0 else f"largest difference {difference} of 255"
        print(f"{output}: {same}")


PictureAndRecord = tuple["Image.Image", dict[str, Any]]


def _plan(
    settings: dict[str, Any], carrier: Path, output: Path, image: Path | None, mask: Path | None
) -> Callable[[Progress], PictureAndRecord]:
    """Check the settings of a PNG; returns a function that makes the picture and its record.

    Raises InputError for settings that cannot be replayed and for another source or mask.
    """
    from counterflow.edit.job import Generation, Job, ModelChoice
    from counterflow.edit.plan import Plan

    command, model = settings["command"], ModelChoice.from_record(settings)
    if command == "generate":
        check_distinct([output], [carrier])
        generation = Generation.from_record(settings, model)
        generation.check()
        return lambda progress: (generation.run(progress)[0], generation.record())
    if command not in ("edit", "reconstruct"):
        raise InputError(f"{carrier} was made by {command!r}, which cannot be replayed")
    image = image or carrier.parent / settings["image"]
    if settings["mask"] is not None:
        mask = mask or carrier.parent / settings["mask"]
    check_distinct([output], [carrier, image, mask])
    job = Job.from_record(settings, image, mask, model)
    job.open()
    for name, digest in job.digests.items():
        if digest != settings[name]:
            what = name.removesuffix("_sha256")
            raise InputError(
                f"this is not the {what} that {carrier} was made from; give it with --{what}"
            )
    plan = Plan.from_record(settings) if command == "edit" else None
    compensate = settings.get("compensate", True)

    def run(progress: Progress) -> PictureAndRecord:
        editor = model.load()
        inversion = job.inversion(editor, progress)
        if plan is None:
            picture = editor.reconstruct(inversion, compensate, progress).image
            return picture, job.record("reconstruct", output, compensate=compensate)
        *_, (edit, _, _) = plan.run(job, editor, inversion, progress)
        said = {"trust": settings["trust"]} if "trust" in settings else {}
        more = plan.record(len(plan.targets) - 1) | said
        return edit.image, job.record("edit", output, **more)

    return run
