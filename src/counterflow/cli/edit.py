"""`edit` and `reconstruct`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow.cli import show
from counterflow.cli.job import Job, ModelChoice, save
from counterflow.cli.options import (
    EDIT,
    INVERT,
    Average,
    Device,
    Dtype,
    ImageArg,
    Iterations,
    Json,
    Model,
    Output,
    Seed,
    Source,
    Steps,
)
from counterflow.cli.outputs import check_distinct, check_output, edit_outputs
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from counterflow.edit.editor import Edit, Inversion


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (edit, reconstruct):
        app.command()(command)


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
    average: Average = INVERT.average,
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
        text_level=text_level,
        text_blocks=_blocks("text-blocks", text_blocks),
        attention_ratio=attention_ratio,
        attention_parts=tuple(attention_parts.replace(",", " ").split()),
        attention_tokens=attention_tokens,
        attention_blocks=_blocks("attention-blocks", attention_blocks),
        skip_steps=skip_steps,
        compensate=compensate,
    )
    invert = InvertSettings(steps, iterations, average, None, invert_guidance)
    settings.check(steps)
    job = Job(image, source, ModelChoice(model, device, dtype, seed), mask, invert)
    outputs = edit_outputs(output, target)
    if grid is not None:
        check_output(grid)
    check_distinct([*outputs, *([grid] if grid else [])], [image, mask])
    picture, inside = job.open()
    _notice(source, target)
    with show.progress() as progress:
        editor = job.model.load()
        editor.check(settings)
        inversion = editor.invert(picture, source, invert, progress)
        edits = []
        for words, path in zip(target, outputs, strict=True):
            edits.append(made := inversion.edit(words, settings, inside, progress))
            save(made.image, path, job.record("edit", path, target=words, edit=settings.to_dict()))
        if json:
            inversion.check(progress)
    if grid is not None:
        _draw_grid(grid, picture, source, edits)
    if json:
        record = job.record("edit", None, edit=settings.to_dict())
        show.as_json(_report(inversion, edits, outputs, record))
    else:
        _print_edits(inversion, edits, outputs)


def reconstruct(
    image: ImageArg,
    source: Source,
    output: Output,
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Average = INVERT.average,
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
    job = Job(image, source, ModelChoice(model, device, dtype, seed), None, invert)
    check_output(output)
    check_distinct([output], [image])
    picture, _ = job.open()
    with show.progress() as progress:
        inversion = job.model.load().invert(picture, source, invert, progress)
        made = inversion.reconstruct(compensate, progress)
    save(made.image, output, job.record("reconstruct", output, compensate=compensate))
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


MOST_BLOCKS = 10_000


def _blocks(name: str, text: str | None) -> tuple[int, ...] | None:
    """`0-3,5` as numbers."""
    if text is None:
        return None
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers.extend(range(int(first), min(int(last or first), MOST_BLOCKS) + 1))
    except ValueError:
        raise InputError(f"--{name} is written as 0-3,5, not {text!r}") from None
    if not numbers:
        raise InputError(f"--{name} {text!r} names no block")
    return tuple(numbers)


def _notice(source: str, targets: list[str]) -> None:
    for target in targets:
        if not target.strip():
            raise InputError(
                "a --target is empty: say in a sentence what the picture should become"
            )
        if target == source:
            warnings.warn(
                "a target equals the source prompt: expect the picture again", stacklevel=1
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
        {
            "target": e.target,
            "image": str(path),
            "forwards": e.forwards,
            "seconds": e.seconds,
            "cut": e.cut,
            "unknown": list(e.unknown),
        }
        for e, path in zip(edits, outputs, strict=True)
    ]
    return {"inversion": _inversion_figures(inversion), "edits": made, "settings": settings}


def _print_edits(inversion: Inversion, edits: list[Edit], outputs: list[Path]) -> None:
    rows: list[list[Any]] = [["inversion", "", inversion.forwards, inversion.seconds]]
    rows += [
        [str(path), e.target, e.forwards, e.seconds] for e, path in zip(edits, outputs, strict=True)
    ]
    show.table(["picture", "target", "forwards", "seconds"], rows)
