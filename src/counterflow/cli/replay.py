"""`generate` and `replay`."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow import __version__
from counterflow.cli import show
from counterflow.cli.job import Job, save
from counterflow.cli.options import Device, Dtype, Json, Model, Output
from counterflow.cli.outputs import check_output
from counterflow.edit.settings import EditSettings, InvertSettings, check_generate
from counterflow.errors import InputError

if TYPE_CHECKING:
    from PIL import Image


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (generate, replay):
        app.command()(command)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output,
    model: Model = "toybox",
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 28,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Generate a picture, as the model's own pipeline would from the same seed."""
    from counterflow.backbones.registry import check_options

    check_generate(steps, guidance, width, height)
    check_options(model, device, dtype)
    check_output(output)
    settings = {
        "command": "generate",
        "counterflow": __version__,
        **{"prompt": prompt, "model": model, "steps": steps, "guidance": guidance, "seed": seed},
        **{"width": width, "height": height, "device": device, "dtype": dtype},
    }
    made = _generate(settings)
    save(made, output, settings)
    if json:
        show.as_json(
            {"image": str(output), "width": made.width, "height": made.height, "settings": settings}
        )
    else:
        print(output)


def replay(
    image: Annotated[Path, typer.Argument(help="A PNG that counterflow made.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: NAME.replay.png beside it.")
    ] = None,
    source_image: Annotated[
        Path | None, typer.Option("--image", help="The source picture, if it has moved.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask, if it has moved.")] = None,
    json: Json = False,
) -> None:
    """Make a picture again from the settings that it carries; say whether it is the same."""
    import numpy as np

    from counterflow.images import load, read_settings

    settings = read_settings(image)
    output = output or image.with_suffix(".replay.png")
    check_output(output)
    try:
        made, record = _replay(settings, image, output, source_image, mask)
    except (KeyError, TypeError) as error:
        raise InputError(f"{image} carries settings that cannot be read: {error}") from None
    save(made, output, record)
    before, after = (np.asarray(p, int) for p in (load(image), made))
    difference = int(np.abs(before - after).max()) if before.shape == after.shape else None
    if json:
        show.as_json({"image": str(output), "largest_difference": difference, "settings": record})
    else:
        same = "the same picture" if difference == 0 else f"largest difference {difference} of 255"
        print(f"{output}: {same}")


def _replay(
    settings: dict[str, Any], carrier: Path, output: Path, image: Path | None, mask: Path | None
) -> tuple[Image.Image, dict[str, Any]]:
    command = settings["command"]
    if command == "generate":
        return _generate(settings), settings
    if command not in ("edit", "reconstruct"):
        raise InputError(f"{carrier} was made by {command!r}, which cannot be replayed")
    image = image or carrier.parent / settings["image"]
    if mask is None and settings["mask"] is not None:
        mask = carrier.parent / settings["mask"]
    invert = InvertSettings.from_dict(settings["invert"])
    names = {f.name for f in fields(Job)} - {"image", "mask", "invert"}
    job = Job(image=image, mask=mask, invert=invert, **{n: settings[n] for n in names})
    picture, inside = job.open()
    if hashlib.sha256(image.read_bytes()).hexdigest() != settings["image_sha256"]:
        raise InputError(
            f"{image} is not the picture that {carrier} was made from; give it with --image"
        )
    with show.progress() as progress:
        inversion = job.editor().invert(picture, job.source, invert, progress)
        if command == "reconstruct":
            again = inversion.reconstruct(settings["compensate"], progress).image
            return again, job.record("reconstruct", output, compensate=settings["compensate"])
        edit_settings = EditSettings.from_dict(settings["edit"])
        made = inversion.edit(settings["target"], edit_settings, inside, progress)
    return made.image, job.record("edit", output, target=made.target, edit=settings["edit"])


def _generate(settings: dict[str, Any]) -> Image.Image:
    from counterflow.edit.editor import Editor

    with show.progress() as progress:
        editor = Editor.load(settings["model"], settings["device"], settings["dtype"])
        side = round(editor.backbone.area**0.5)
        size = (settings["width"] or side, settings["height"] or side)
        return editor.generate(
            settings["prompt"],
            settings["steps"],
            settings["guidance"],
            settings["seed"],
            size,
            progress,
        )[0]
