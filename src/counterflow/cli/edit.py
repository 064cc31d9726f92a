"""`edit`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from counterflow.cli import figures, show
from counterflow.cli.job import Job, ModelChoice, save
from counterflow.cli.options import (
    EDIT,
    INVERT,
    Average,
    AverageWindow,
    Device,
    Dtype,
    Iterations,
    Json,
    MaskOption,
    Model,
    Seed,
    Solver,
    Steps,
    numbers,
    span,
    window,
    word_windows,
)
from counterflow.cli.outputs import check_distinct, check_output, edit_outputs
from counterflow.cli.plan import Plan
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(edit)


def edit(
    image: Annotated[
        Path, typer.Argument(help="The picture, or an inversion that was stored (.safetensors).")
    ],
    target: Annotated[list[str], typer.Option(help="What it should become; may be repeated.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A PNG; with several targets a folder or a pattern with {n} or {target}.",
        ),
    ],
    source: Annotated[
        str | None, typer.Option(help="A sentence that describes the picture.")
    ] = None,
    model: Model = "toybox",
    steps: Steps = INVERT.steps,
    iterations: Iterations = INVERT.iterations,
    average: Average = INVERT.average,
    average_window: AverageWindow = None,
    invert_guidance: Annotated[
        float, typer.Option(help="Guidance while inverting.")
    ] = INVERT.guidance,
    solver: Solver = INVERT.solver,
    guidance: Annotated[float, typer.Option(help="Guidance of the target.")] = EDIT.guidance,
    text_ratio: Annotated[
        str, typer.Option(help="Share of steps with the text control, as 0.4 or 0.2-0.8.")
    ] = "1",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A word with a window of its own, as wooden=0.4; may be repeated."),
    ] = None,
    text_level: Annotated[str, typer.Option(help="token or word.")] = EDIT.text_level,
    text_padding: Annotated[
        bool, typer.Option(help="Hold padding too, as the reference does.")
    ] = EDIT.text_padding,
    text_blocks: Annotated[
        str | None, typer.Option(help="Blocks with the text control, as 0-3,5.")
    ] = None,
    attention_ratio: Annotated[
        str, typer.Option(help="Share of steps with attention injection, as 0.15 or 0-0.15.")
    ] = "0",
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
    mask: MaskOption = None,
    exact_background: Annotated[
        bool, typer.Option(help="Outside the mask, the picture's own pixels.")
    ] = EDIT.exact_background,
    batch: Annotated[int, typer.Option(help="Targets that are made together.")] = 1,
    turns: Annotated[bool, typer.Option(help="Make each target from the last edit.")] = False,
    noise_seed: Annotated[
        int | None,
        typer.Option(help="Begin the targets from this seed's noise: another scene, same subject."),
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
        text_ratio=window("text-ratio", text_ratio),
        text_words=word_windows("keep", keep or []),
        text_level=text_level,
        text_padding=text_padding,
        text_blocks=numbers("text-blocks", text_blocks),
        attention_ratio=window("attention-ratio", attention_ratio),
        attention_parts=tuple(attention_parts.replace(",", " ").split()),
        attention_tokens=attention_tokens,
        attention_blocks=numbers("attention-blocks", attention_blocks),
        skip_steps=skip_steps,
        compensate=compensate,
        exact_background=exact_background,
    )
    averaged = span("average-window", average_window)
    invert = InvertSettings(steps, iterations, average, averaged, invert_guidance, solver)
    auto = mask == "auto"
    drawn = None if auto or mask is None else Path(mask)
    choice = ModelChoice(model, device, dtype, seed)
    job = Job(image, source, choice, drawn, auto, invert)
    plan = Plan(target, settings, batch, turns, noise_seed)
    plan.check(mask is not None, auto)
    outputs = edit_outputs(output, target)
    if grid is not None:
        check_output(grid)
    check_distinct([*outputs, *([grid] if grid else [])], [image, drawn])
    job.open()
    settings.check(job.invert.steps)
    plan.check_words(job.source or "")
    _notice(job.source or "", target)
    with show.progress() as progress:
        editor = job.model.load()
        editor.check(settings)
        inversion = job.inversion(editor, progress)
        edits, masks = [], []
        for n, (made, inside) in enumerate(plan.run(job, editor, inversion, progress)):
            save(made.image, outputs[n], job.record("edit", outputs[n], **plan.record(n)))
            edits.append(made)
            masks.append(inside if auto else None)
        if json:
            inversion.check(progress)
    if grid is not None:
        figures.draw_grid(grid, inversion, edits, masks)
    if json:
        record = job.record("edit", None, edit=settings.to_dict())
        show.as_json(figures.edit_report(inversion, edits, outputs, record))
    else:
        figures.print_edits(inversion, edits, outputs)


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
