"""`edit`, `reconstruct`, `generate` and `replay`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow import __version__
from counterflow.cli import show
from counterflow.cli.outputs import check_output, edit_outputs
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from counterflow.edit.editor import Edit, Editor, Inversion

ImageArg = Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP, BMP, TIFF or GIF.")]
Source = Annotated[str, typer.Option(help="A sentence that describes the picture.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the PNG goes.")]
Model = Annotated[str, typer.Option(help="toybox (bundled), a pipeline folder, or a repository.")]
Steps = Annotated[int, typer.Option(help="Steps of the grid (N).")]
Iterations = Annotated[int, typer.Option(help="Fixed-point iterations (I); 0 is Euler inversion.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N, mps; default the best there is.")
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]
Json = Annotated[bool, typer.Option("--json", help="Print figures as JSON.")]
Seed = Annotated[
    int, typer.Option(help="Seed of every random draw (inversion and edit make none).")
]

INVERT, EDIT = InvertSettings(), EditSettings()


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (edit, reconstruct, generate, replay):
        app.command()(command)


@dataclass(frozen=True)
class Job:
    """Everything that decides the pictures of `edit` and `reconstruct`, as recorded in the PNG."""

    image: Path
    source: str
    model: str = "toybox"
    device: str | None = None
    dtype: str | None = None
    mask: Path | None = None
    seed: int = 0
    invert: InvertSettings = INVERT

    def open(self) -> tuple[Image.Image, np.ndarray | None]:
        """The picture and the mask, refused before any model loads."""
        from counterflow.backbones.registry import check_options
        from counterflow.images import load, load_mask

        check_options(self.model, self.device, self.dtype)
        if not self.source.strip():
            raise InputError("--source is empty: say in a sentence what the picture shows")
        picture = load(self.image)
        return picture, None if self.mask is None else load_mask(self.mask, picture.size)

    def editor(self) -> Editor:
        """Load the model."""
        import torch

        from counterflow.edit.editor import Editor

        torch.manual_seed(self.seed)
        return Editor.load(self.model, self.device, self.dtype)

    def record(self, command: str, output: Path, **more: Any) -> dict[str, Any]:
        """Settings for the PNG; files are named relative to its folder."""

        def near(path: Path) -> str:
            return os.path.relpath(path.absolute(), output.absolute().parent)

        return {
            "command": command,
            "counterflow": __version__,
            "image": near(self.image),
            "image_sha256": hashlib.sha256(self.image.read_bytes()).hexdigest(),
            "mask": None if self.mask is None else near(self.mask),
            "source": self.source,
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "seed": self.seed,
            "invert": self.invert.to_dict(),
            **more,
        }


def edit(
    image: ImageArg,
    source: Source,
    target: Annotated[list[str], typer.Option(help="What it should become; may be repeated.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A PNG; with several targets a folder or a pattern with {n} or {target}.",
        ),
    ],
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Annotated[
        bool, typer.Option(help="Average the iterates' velocities.")
    ] = INVERT.average,
    invert_guidance: Annotated[
        float, typer.Option(help="Guidance while inverting.")
    ] = INVERT.guidance,
    guidance: Annotated[float, typer.Option(help="Guidance of the target.")] = EDIT.guidance,
    text_ratio: Annotated[
        float, typer.Option(help="Share of steps with the text control.")
    ] = EDIT.text_ratio,
    text_level: Annotated[str, typer.Option(help="token or word.")] = EDIT.text_level,
    text_blocks: Annotated[
        str | None, typer.Option(help="Blocks with the text control, as 0-3,5.")
    ] = None,
    attention_ratio: Annotated[
        float, typer.Option(help="Share of steps with attention injection.")
    ] = EDIT.attention_ratio,
    attention_parts: Annotated[str, typer.Option(help="Which of q, k, v, as v or k,v.")] = "v",
    attention_tokens: Annotated[
        str, typer.Option(help="image, text or both.")
    ] = EDIT.attention_tokens,
    attention_blocks: Annotated[
        str | None, typer.Option(help="Blocks with injection, as 0-3,5.")
    ] = None,
    skip_steps: Annotated[
        int, typer.Option(help="Start at this step of the trajectory.")
    ] = EDIT.skip_steps,
    compensate: Annotated[
        str, typer.Option(help="source, both or none (stage II).")
    ] = EDIT.compensate,
    mask: Annotated[
        Path | None, typer.Option(help="White where the edit may change the picture.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
    grid: Annotated[
        Path | None, typer.Option(help="Also draw source and edits side by side here.")
    ] = None,
) -> None:
    """Edit a picture: invert it once, then make every target."""
    settings = EditSettings(
        guidance=guidance,
        text_ratio=text_ratio,
        text_level=text_level,  # type: ignore[arg-type]
        text_blocks=_blocks("text-blocks", text_blocks),
        attention_ratio=attention_ratio,
        attention_parts=tuple(attention_parts.replace(",", " ").split()),
        attention_tokens=attention_tokens,  # type: ignore[arg-type]
        attention_blocks=_blocks("attention-blocks", attention_blocks),
        skip_steps=skip_steps,
        compensate=compensate,  # type: ignore[arg-type]
    )
    invert = InvertSettings(steps, iterations, average, None, invert_guidance)
    settings.check(steps)
    job = Job(image, source, model, device, dtype, mask, seed, invert)
    outputs = edit_outputs(output, target)
    if grid is not None:
        check_output(grid)
    picture, inside = job.open()
    _notice(source, target)
    with show.progress() as progress:
        editor = job.editor()
        inversion = editor.invert(picture, source, invert, progress)
        edits = []
        for words, path in zip(target, outputs, strict=True):
            edits.append(made := inversion.edit(words, settings, inside, progress))
            _save(made.image, path, job.record("edit", path, target=words, edit=settings.to_dict()))
        if json and inversion.latent_error is None:
            inversion.check(progress)
    _say_cut(inversion, edits)
    if grid is not None:
        _draw_grid(grid, picture, source, edits)
    if json:
        show.as_json(
            _report(
                inversion, edits, outputs, job.record("edit", outputs[0], edit=settings.to_dict())
            )
        )
    else:
        _print_edits(inversion, edits, outputs)


def reconstruct(
    image: ImageArg,
    source: Source,
    output: Output,
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Annotated[
        bool, typer.Option(help="Average the iterates' velocities.")
    ] = INVERT.average,
    compensate: Annotated[
        bool, typer.Option(help="Add the velocity compensation of stage II.")
    ] = True,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Invert a picture and make it again; exact in latents with compensation."""
    invert = InvertSettings(steps, iterations, average)
    job = Job(image, source, model, device, dtype, None, seed, invert)
    check_output(output)
    picture, _ = job.open()
    with show.progress() as progress:
        inversion = job.editor().invert(picture, source, invert, progress)
        made = inversion.reconstruct(compensate, progress)
    _save(made.image, output, job.record("reconstruct", output, compensate=compensate))
    figures = {
        "inversion": _inversion_figures(inversion),
        "reconstruction": {
            "image": str(output),
            "compensated": compensate,
            "latent_error": made.latent_error,
            "forwards": made.forwards,
            "seconds": made.seconds,
        },
    }
    if json:
        show.as_json(figures)
    else:
        print(
            f"{output}: largest latent difference {made.latent_error:.2e}, {made.forwards} forwards"
        )


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
    from counterflow.edit.settings import check_generate

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
    _save(made, output, settings)
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
    _save(made, output, record)
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


def _save(picture: Image.Image, path: Path, settings: dict[str, Any]) -> None:
    from counterflow.images import save_png

    save_png(picture, path, settings)


def _blocks(name: str, text: str | None) -> tuple[int, ...] | None:
    """`0-3,5` as numbers."""
    if text is None:
        return None
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise InputError(f"--{name} is written as 0-3,5, not {text!r}") from None
    if not numbers:
        raise InputError(f"--{name} {text!r} names no block")
    return tuple(numbers)


def _notice(source: str, targets: list[str]) -> None:
    import warnings

    for target in targets:
        if not target.strip():
            raise InputError(
                "a --target is empty: say in a sentence what the picture should become"
            )
        if target == source:
            warnings.warn(
                "a target equals the source prompt: expect the picture again", stacklevel=1
            )


def _say_cut(inversion: Inversion, edits: list[Edit]) -> None:
    import warnings

    prompts = [("source", inversion.conditioning.cut), *((repr(e.target), e.cut) for e in edits)]
    for name, cut in prompts:
        for tokenizer, rest in cut.items():
            warnings.warn(
                f"the {name} prompt is too long for {tokenizer}; not seen: {rest!r}",
                stacklevel=1,
            )


def _draw_grid(path: Path, picture: Image.Image, source: str, edits: list[Edit]) -> None:
    from counterflow.images import save_png
    from counterflow.sheet import Cell, sheet

    cells = [Cell(picture, source)] + [Cell(e.image, e.target, e.changed) for e in edits]
    save_png(sheet(cells, columns=min(len(cells), 4)), path, None)


def _inversion_figures(inversion: Inversion) -> dict[str, Any]:
    return {
        "steps": inversion.settings.steps,
        "iterations": inversion.settings.iterations,
        "forwards": inversion.forwards,
        "seconds": inversion.seconds,
        "residual": inversion.residual,
        "latent_error": inversion.latent_error,
        "check_forwards": inversion.check_forwards,
    }


def _report(
    inversion: Inversion, edits: list[Edit], outputs: list[Path], settings: dict[str, Any]
) -> dict[str, Any]:
    made = [
        {"target": e.target, "image": str(path), "forwards": e.forwards, "seconds": e.seconds}
        for e, path in zip(edits, outputs, strict=True)
    ]
    return {"inversion": _inversion_figures(inversion), "edits": made, "settings": settings}


def _print_edits(inversion: Inversion, edits: list[Edit], outputs: list[Path]) -> None:
    rows: list[list[Any]] = [["inversion", "", inversion.forwards, inversion.seconds]]
    rows += [
        [str(path), e.target, e.forwards, e.seconds] for e, path in zip(edits, outputs, strict=True)
    ]
    show.table(["picture", "target", "forwards", "seconds"], rows)
