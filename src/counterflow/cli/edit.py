"""`edit`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import figures, show
from counterflow.cli.options import (
    TOYBOX,
    Json,
    MaskOption,
    MethodName,
    Seed,
    Set,
    Steps,
    opens_a_model,
    settings,
)
from counterflow.cli.outputs import check_distinct, check_output, edit_outputs
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.methods.base import Method


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(edit)


@opens_a_model
def edit(
    image: Annotated[
        Path, typer.Argument(help="The picture, or a stored inversion (.safetensors).")
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
            help="A PNG; for several targets a folder, or a name with {n} or {target} in it.",
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
    check: Annotated[
        bool, typer.Option(help="Say how far the result is to be trusted, for a few forwards.")
    ] = True,
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
    json: Json = False,
    grid: Annotated[
        Path | None, typer.Option(help="A PNG to draw source and edits in, side by side.")
    ] = None,
) -> None:
    """Edit a picture: invert it once, if the method inverts, then make the edit of every target.

    Without --method a stored inversion is edited by its own, a picture by `paired`.
    """
    texts = settings(change, steps=steps, guidance=guidance)
    from counterflow.edit.checks import check_mask
    from counterflow.edit.job import Job, ModelChoice
    from counterflow.edit.plan import Plan
    from counterflow.images import save_png
    from counterflow.methods.registry import DEFAULT
    from counterflow.trust.expecting import Expecting

    auto = mask == "auto"
    mask_file = None if auto or mask is None else Path(mask)
    choice = ModelChoice(loading, seed, rows=rows, keep=keep)
    stored = image.suffix.lower() == ".safetensors"
    job = Job(
        image,
        source,
        choice,
        method if method or stored else DEFAULT,
        texts=texts,
        mask=mask_file,
        auto_mask=auto,
        exact_background=exact_background,
    )
    plan = Plan(target, batch, turns, noise_seed)
    plan.check(job)
    outputs = edit_outputs(output, target)
    if grid is not None:
        check_output(grid)
    check_distinct([*outputs, *([grid] if grid else [])], [image, mask_file])
    job.open()
    check_mask(job.method, mask is not None)
    plan.check_prompts(job.method, job.source or "")
    _notice(job.source or "", target)
    with show.progress() as progress:
        editor = job.model.load()
        job.method.check_model(editor.backbone)
        inversion = job.inversion(editor, progress)
        edits, masks, trust = [], [], []
        expecting = Expecting(
            editor, target, turns, _titled(job.method), check and noise_seed is None
        )
        for n, (result, inside, origin) in enumerate(plan.run(job, editor, inversion, progress)):
            trust.append(expecting(origin, n))
            more = plan.record(n) | {"trust": trust[n]}
            save_png(result.image, outputs[n], job.record("edit", outputs[n], **more))
            edits.append(result)
            masks.append(inside if auto else None)
        if json:
            editor.check(inversion, progress)
    if grid is not None:
        figures.draw_grid(grid, inversion, edits, masks)
    if json:
        show.as_json(
            figures.edit_report(inversion, edits, outputs, trust, job.record("edit", None))
        )
    else:
        figures.print_edits(inversion, edits, outputs)
        figures.print_trust(edits, trust)


def _notice(source: str, targets: list[str]) -> None:
    """Raise InputError for an empty target; warn of one that equals the source prompt."""
    for target in targets:
        if not target.strip():
            raise InputError(
                "a --target is empty: say in a sentence what the picture should become"
            )
        if target == source:
            warnings.warn(
                "a target equals the source prompt: expect the same picture again", stacklevel=1
            )


def _titled(method: Method) -> str:
    """A method's name, and the settings that are not its own."""
    from counterflow.methods.registry import changed

    return ",".join([method.name, *(f"{k}={v}" for k, v in changed(method.name, method).items())])
