"""`compare`: one picture by many methods."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import completing, show, streams
from counterflow.cli.options import (
    TOYBOX,
    Budget,
    Check,
    ImageArg,
    Json,
    MaskFeather,
    MaskGrow,
    Seed,
    SetSome,
    Source,
    Tuned,
    opens_a_model,
)
from counterflow.cli.outputs import check_distinct, check_output
from counterflow.cli.variants import variants
from counterflow.errors import CounterflowError, InputError
from counterflow.prompts import check_prompt

if TYPE_CHECKING:
    from PIL import Image

    from counterflow.bench.compare import Compared
    from counterflow.edit.editor import Editor
    from counterflow.edit.job import Job
    from counterflow.methods.registry import Variant

COLUMNS = 6
EACH = "each method"
"""For whom a probability is told: it is always that of the one it was measured with."""


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(compare)


@opens_a_model
def compare(
    image: ImageArg,
    source: Source,
    target: Annotated[str, typer.Option(help="A sentence that describes the edited picture.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            help="all, or some, as flowedit,ftedit.",
            autocompletion=completing.some_methods,
        ),
    ] = None,
    change: SetSome = None,
    tuned: Tuned = None,
    budget: Budget = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where edits may change the picture.")
    ] = None,
    mask_grow: MaskGrow = 0,
    mask_feather: MaskFeather = 0,
    grid: Annotated[
        Path | None, typer.Option(help="A PNG of the source and every edit, side by side.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for each method's PNG.")
    ] = None,
    check: Check = True,
    seed: Seed = 0,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Edit one picture by many methods, side by side.

    Where a method failed it exits with code 5.
    """
    names = [name for each in method or ["all"] for name in each.split(",") if name]
    chosen = variants(names, change or [], tuned, budget)
    if "all" in names and mask is None:
        chosen = list(_without_mask(chosen))
    from counterflow.edit.job import Job, ModelChoice

    if grid is None and output is None and not json:
        raise InputError("--grid FILE draws the edits side by side, -o FOLDER keeps each: give one")
    choice = ModelChoice(loading, seed)
    job = Job(image, source, choice, mask=mask, mask_grow=mask_grow, mask_feather=mask_feather)
    if job.stored:
        raise InputError("compare takes a picture: each method inverts it for itself")
    check_prompt("--target", target)
    places = {each.name: output / f"{each.name}.png" for each in chosen} if output else {}
    outputs = [*places.values(), *([grid] if grid else [])]
    for path in outputs:
        check_output(path)
    check_distinct(outputs, [image, mask])
    job.data = streams.piped(image)
    job.open()
    assert job.picture is not None, "it is open"
    from counterflow.bench.compare import compare as run
    from counterflow.images import save_png
    from counterflow.trust.report import enlarged

    results = []
    with show.progress() as progress:
        editor = job.model.load()
        editor.notice(source, target)
        prompts = (source, target)
        trust = _trust(editor, job.picture, source, target) if check else None
        for each in run(editor, job.picture, *prompts, chosen, job.inside, seed, progress):
            results.append(each)
            if each.edit is not None and each.name in places:
                path = places[each.name]
                save_png(each.edit.image, path, _record(job, each, path, target, trust))
    if grid is not None:
        _draw(grid, job, results, target)
    if json:
        methods = [*map(_facts, results)]
        show.as_json({"source": source, "target": target, "methods": methods, "trust": trust})
    else:
        header = ["method", "forwards", "seconds", "PSNR, dB"]
        made = [each for each in results if each.error is None]
        show.table(header, [[e.name, e.forwards, e.seconds, e.psnr] for e in made])
        for each in results:
            if each.error is not None:
                show.line(f"{each.name}: {each.error}")
        show.line("\nPSNR is likeness to the source" + (" outside the mask." if mask else "."))
        worked = next((e.edit.settings["worked_size"] for e in made if e.edit is not None), None)
        size = enlarged(job.picture.size, tuple(worked)) if worked else ""
        for line in filter(None, (size, trust and trust["sentence"])):
            show.line(line)
    failed = [each for each in results if each.error is not None]
    if len(failed) == len(results):
        raise InputError(f"no method made an edit; {results[0].name}: {results[0].error}")
    if failed:
        raise typer.Exit(show.UNFINISHED)


def _without_mask(chosen: list[Variant]) -> Iterator[Variant]:
    """Those that need none; of the others it is said."""
    for each in chosen:
        if each.method.needs_mask:
            warnings.warn(f"{each.method.name} edits inside a mask: give --mask", stacklevel=1)
        else:
            yield each


def _facts(each: Compared) -> dict[str, Any]:
    """A method in `--json`."""
    return {
        "name": each.name,
        "title": each.title,
        "settings": each.method.to_dict(),
        "forwards": each.forwards,
        "seconds": each.seconds,
        "PSNR": each.psnr,
        "error": each.error,
    }


def _trust(editor: Editor, picture: Image.Image, source: str, target: str) -> dict[str, Any] | None:
    """What is to be expected, as `edit` has it; None where it cannot be told: edits may be made."""
    from counterflow.methods.registry import DEFAULT
    from counterflow.trust.expecting import Expecting

    try:
        inversion = editor.invert(picture, source, DEFAULT)
        return Expecting(editor, [target], method=EACH)(inversion, 0)
    except CounterflowError as error:
        warnings.warn(f"what to expect cannot be told: {error}", stacklevel=1)
        return None


def _record(
    job: Job, each: Compared, path: Path, target: str, trust: dict[str, Any] | None
) -> dict[str, Any]:
    """What a picture's PNG carries: that of `edit` by this method."""
    from counterflow.edit.plan import Plan

    own = replace(job, method_name=each.method.name, settings=each.method.to_dict())
    own.worked_size = None if each.edit is None else each.edit.settings["worked_size"]
    return own.record("edit", path, **Plan([target]).record(0), trust=trust)


def _draw(path: Path, job: Job, results: list[Compared], target: str) -> None:
    """The source, and every edit under its method's name and its forwards."""
    from counterflow.controls.align import changed_words
    from counterflow.images import save_png
    from counterflow.sheet import Cell, sheet

    assert job.picture is not None and job.source is not None, "it is open"
    said = f"{job.source} becomes "
    marked = [(len(said) + a, len(said) + b) for a, b in changed_words(job.source, target)]
    cells = [Cell(job.picture, said + target, marked, "source")]
    for each in results:
        if each.edit is not None:
            cells.append(Cell(each.edit.image, f"{each.forwards} forwards", title=each.name))
    save_png(sheet(cells, columns=min(len(cells), COLUMNS)), path)
