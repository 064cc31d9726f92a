"""`generate` and `replay`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow import __version__
from counterflow.cli import show
from counterflow.cli.job import Job, ModelChoice, save
from counterflow.cli.options import Device, Dtype, Json, Model, Output
from counterflow.cli.outputs import check_distinct, check_output
from counterflow.cli.plan import Plan
from counterflow.edit.settings import InvertSettings, check_generate
from counterflow.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from counterflow.edit.editor import Inversion


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (generate, replay):
        app.command()(command)


@dataclass
class Generation:
    """Everything that decides a generated picture."""

    prompt: str
    steps: int
    guidance: float
    width: int | None
    height: int | None
    model: ModelChoice
    solver: str = "euler"

    def check(self) -> None:
        """Refuse what can be refused without loading the model."""
        check_generate(
            self.steps, self.guidance, self.model.seed, self.width, self.height, self.solver
        )
        self.model.check()

    def run(self, keep: bool = False) -> tuple[Image.Image, Inversion | None]:
        """Load the model and make the picture; with `keep`, also what an edit of it starts from."""
        with show.progress() as progress:
            editor = self.model.load()
            width, height = editor.square
            size = (self.width or width, self.height or height)
            made, trajectory = editor.generate(
                self.prompt, self.steps, self.guidance, self.model.seed, size, progress, self.solver
            )
        kept = editor.from_trajectory(made, self.prompt, trajectory) if keep else None
        return made, kept

    def record(self) -> dict[str, Any]:
        """For the PNG."""
        names = ("prompt", "steps", "guidance", "width", "height", "solver")
        settings = {name: getattr(self, name) for name in names}
        version = {"command": "generate", "counterflow": __version__}
        return version | settings | self.model.record()


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output,
    model: Model = "toybox",
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 28,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    solver: Annotated[str, typer.Option(help="euler or ddim: equal but for rounding.")] = "euler",
    inversion: Annotated[
        Path | None,
        typer.Option(help="Store the trajectory here (.safetensors), to be edited."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Generate a picture from a prompt and a seed."""
    choice = ModelChoice(model, device, dtype, seed)
    job = Generation(prompt, steps, guidance, width, height, choice, solver)
    job.check()
    check_output(output)
    if inversion is not None:
        check_output(inversion, ".safetensors")
    made, kept = job.run(keep=inversion is not None)
    save(made, output, job.record())
    if inversion is not None and kept is not None:
        kept.save(inversion)
    if json:
        size = {"width": made.width, "height": made.height}
        show.as_json({"image": str(output), **size, "settings": job.record()})
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
    device: Annotated[str | None, typer.Option(help="Another device than it was made on.")] = None,
    json: Json = False,
) -> None:
    """Make a picture again from the settings that it carries; say whether it is the same."""
    import numpy as np

    from counterflow.images import load, read_settings

    settings = read_settings(image)
    before = np.asarray(load(image), int)
    output = output or image.with_suffix(".replay.png")
    check_output(output)
    try:
        settings["device"] = device or settings.get("device")
        run = _plan(settings, image, output, source_image, mask)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{image} carries settings that cannot be read: {error!r}") from None
    made, record = run()
    save(made, output, record)
    after = np.asarray(made, int)
    difference = int(np.abs(before - after).max()) if before.shape == after.shape else None
    if json:
        show.as_json({"image": str(output), "largest_difference": difference, "settings": record})
    else:
        same = "the same picture" if difference == 0 else f"largest difference {difference} of 255"
        print(f"{output}: {same}")


Made = tuple["Image.Image", dict[str, Any]]


def _plan(
    settings: dict[str, Any], carrier: Path, output: Path, image: Path | None, mask: Path | None
) -> Callable[[], Made]:
    """Read and check what a PNG carries; the function that it returns makes the picture."""
    command, model = settings["command"], ModelChoice.from_record(settings)
    if command == "generate":
        check_distinct([output], [carrier])
        names = ("prompt", "steps", "guidance", "width", "height")
        solver = settings.get("solver", "euler")
        known = {name: settings[name] for name in names}
        generation = Generation(**known, model=model, solver=solver)
        generation.check()
        return lambda: (generation.run()[0], generation.record())
    if command not in ("edit", "reconstruct"):
        raise InputError(f"{carrier} was made by {command!r}, which cannot be replayed")
    image = image or carrier.parent / settings["image"]
    if settings["mask"] is not None:
        mask = mask or carrier.parent / settings["mask"]
    check_distinct([output], [carrier, image, mask])
    auto_mask = bool(settings.get("auto_mask", False))
    invert = InvertSettings.from_dict(settings["invert"])
    job = Job(image, settings["source"], model, mask, auto_mask, invert)
    job.open()
    for name, digest in job.digests.items():
        if digest != settings[name]:
            what = name.removesuffix("_sha256")
            raise InputError(
                f"this is not the {what} that {carrier} was made from; give it with --{what}"
            )
    plan = Plan.from_record(settings) if command == "edit" else None
    compensate = settings.get("compensate", True)

    def run() -> Made:
        with show.progress() as progress:
            editor = model.load()
            inversion = job.inversion(editor, progress)
            if plan is None:
                made = inversion.reconstruct(compensate, progress).image
                return made, job.record("reconstruct", output, compensate=compensate)
            *_, (edit, _) = plan.run(job, editor, inversion, progress)
        return edit.image, job.record("edit", output, **plan.record(len(plan.targets) - 1))

    return run
