"""`edit`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import figures, show, streams
from counterflow.cli.options import (
    TOYBOX,
    Check,
    Json,
    MaskFeather,
    MaskGrow,
    MaskOption,
    MethodName,
    Quality,
    Seed,
    Set,
    Steps,
    opens_a_model,
    settings,
)
from counterflow.cli.outputs import check_distinct, check_output, check_room, edit_outputs
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.methods.base import Method


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(edit)


@opens_a_model
def edit(
    image: Annotated[
        Path,
        typer.Argument(
            help="The picture, - for standard input, or a stored inversion (.safetensors)."
        ),
    ],
    target: Annotated[
        list[str],
        typer.Option(help="A sentence that describes the edited picture; may be repeated."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .png, .jpg or .webp; for several targets a folder, or a name with {n} or "
            "{target} in it; - for standard output, as PNG.",
        ),
    ],
    source: Annotated[
        str | None, typer.Option(help="A sentence that describes the picture.")
    ] = None,
    method: MethodName = None,
    change: Set = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance of the target; the same as --set guidance=2.")
    ] = None,
    mask: MaskOption = None,
    mask_grow: MaskGrow = 0,
    mask_feather: MaskFeather = 0,
    save_mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A PNG for the mask that --mask auto found, neither grown nor feathered; for "
            "several targets a folder or a name as -o takes it.",
        ),
    ] = None,
    exact_background: Annotated[
        bool, typer.Option(help="Keep the picture's own pixels outside the mask.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Number of targets that are edited together.")] = 1,
    turns: Annotated[
        bool, typer.Option(help="Edit the result of the target before, not the picture.")
    ] = False,
    noise_seed: Annotated[
        int | None,
        typer.Option(
            help="Start from the noise of this seed: another scene with the same subject."
        ),
    ] = None,
    check: Check = True,
    rows: Annotated[
        int | None, typer.Option(help="Most samples in one forward; fewer need less memory.")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            help="GiB that may be kept of the picture for its next targets; default 2. What does "
            "not fit is computed again."
        ),
    ] = None,
    loading: Loading = TOYBOX,
    seed: Seed = 0,
    quality: Quality = 95,
    json: Json = False,
    grid: Annotated[
        Path | None, typer.Option(help="A PNG of source and edits, side by side.")
    ] = None,
) -> None:
    """Edit a picture: invert it once, if the method inverts, then make the edit of every target.

    Without --method a stored inversion is edited by its own, a picture by `paired`.
    """
    texts = settings(change, steps=steps, guidance=guidance)
    from counterflow.edit.checks import check_mask
    from counterflow.edit.job import Job, ModelChoice
    from counterflow.edit.plan import Plan
    from counterflow.methods.registry import DEFAULT
    from counterflow.trust.expecting import Expecting

    auto = mask == "auto"
    mask_file = None if auto or mask is None else Path(mask)
    stored = image.suffix.lower() == ".safetensors"
    job = Job(
        image,
        source,
        ModelChoice(loading, seed, rows=rows, keep=keep),
        method if method or stored else DEFAULT,
        texts=texts,
        mask=mask_file,
        auto_mask=auto,
        exact_background=exact_background,
        mask_grow=mask_grow,
        mask_feather=mask_feather,
    )
    plan = Plan(target, batch, turns, noise_seed)
    plan.check(job)
    outputs, masks = edit_outputs(output, target, json, quality), _masks(save_mask, target, auto)
    if grid is not None:
        check_output(grid)
    check_distinct([*outputs, *masks, *([grid] if grid else [])], [image, mask_file])
    job.data = streams.piped(image)
    job.open()
    check_mask(job.method, mask is not None)
    plan.check_prompts(job.method, job.source or "")
    for n, path in enumerate(outputs):
        check_room(path, job.picture, job.record("edit", path, **plan.record(n)))
    _notice(job.source or "", target)
    with show.progress() as progress:
        editor = job.model.load()
        job.method.check_model(editor.backbone)
        editor.notice(job.source or "", *target)
        inversion = job.inversion(editor, progress)
        made: list[figures.Made] = []
        titled = _titled(job.method, mask is not None or exact_background)
        expecting = Expecting(editor, target, turns, titled, check and noise_seed is None)
        for n, (result, inside, origin) in enumerate(plan.run(job, editor, inversion, progress)):
            trust = expecting(origin, n)
            record = job.record("edit", outputs[n], **plan.record(n), trust=trust)
            streams.write(result.image, outputs[n], record, quality)
            figures.save_mask(masks, n, job.plain)
            made.append(figures.Made(result, outputs[n], trust, inside if auto else None))
        if json:
            editor.check(inversion, progress)
    if grid is not None:
        figures.draw_grid(grid, inversion, made)
    with streams.reporting(output):
        if json:
            show.as_json(figures.edit_report(inversion, made, job.record("edit", None)))
        else:
            figures.print_edits(inversion, made)
            figures.print_trust(made)


def _masks(save_mask: Path | None, targets: list[str], auto: bool) -> list[Path]:
    """A file for the mask of each target, none where none is wanted; InputError as for outputs."""
    if save_mask is None:
        return []
    if not auto:
        raise InputError("--save-mask keeps a mask that was found: give --mask auto too")
    paths = edit_outputs(save_mask, targets)
    for path in paths:
        check_output(path)
    return paths


def _notice(source: str, targets: list[str]) -> None:
    """Warn of a target that equals the source prompt."""
    for target in targets:
        if target == source:
            warnings.warn("a target equals the source prompt: it asks for no change", stacklevel=1)


def _titled(method: Method, bounded: bool) -> str:
    """A method's name, and the settings that are not its own; a bound in the picture is one."""
    from counterflow.methods.registry import changed

    own = [f"{k}={v}" for k, v in changed(method.name, method).items()]
    return ",".join([method.name, *own, *["bounded"] * bounded])
