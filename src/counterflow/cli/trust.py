"""`check` and `calibrate`: how far results on a picture are to be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show, streams
from counterflow.cli.options import TOYBOX, ImageArg, Json, Seed, Source, opens_a_model
from counterflow.cli.outputs import check_output
from counterflow.errors import InputError
from counterflow.prompts import check_prompt

if TYPE_CHECKING:
    from counterflow.edit.editor import Inversion
    from counterflow.trust.report import Report

SEED, FRESH = 700_000, 740_000
"""First seeds of the scenes that are calibrated on, and evaluated on."""


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (check, calibrate):
        app.command()(command)


@opens_a_model
def check(
    image: ImageArg,
    source: Source,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A sentence of an edit that is planned; may be repeated."),
    ] = None,
    loading: Loading = TOYBOX,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Say how far edits of a picture are to be trusted, without making any.

    It inverts the picture by Euler's rule in 10 steps, looks at the noise and at the round trip
    through the autoencoder, and asks the model how well the sentence explains the picture.
    """
    targets = list(target or [])
    from counterflow.edit.job import Job, ModelChoice

    for each in targets:
        check_prompt("a --target", each)
    if image.suffix.lower() == ".safetensors":
        raise InputError(f"{image} is a stored inversion: give the picture itself")
    from counterflow.trust.report import METHOD, STEPS, assess

    choice = ModelChoice(loading, seed)
    job = Job(image, source, choice, METHOD, {"steps": STEPS}, data=streams.piped(image))
    job.open()
    with show.progress() as progress:
        editor = job.model.load()
        editor.notice(source, *targets)
        inversion = job.inversion(editor, progress)
        editor.check(inversion, progress)
        report = assess(editor, inversion, targets)
    if json:
        cost = inversion.forwards + inversion.check_forwards
        more = {"residual": inversion.residual, "inversion_forwards": cost}
        show.as_json({"image": str(image), "source": source} | report.to_dict() | more)
    else:
        _print(report, inversion)


@opens_a_model
def calibrate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .json; default where `edit` and `check` look."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Sentences that the model can draw, one a line, for a model of another world."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Number of edits, or sentences, of each kind; right ones thrice.")
    ] = 30,
    evaluated: Annotated[
        bool, typer.Option("--evaluate", help="Test the calibration that there is; write nothing.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help=f"First scene or noise; default {SEED}, or {FRESH} with --evaluate."),
    ] = None,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Measure what figures of trust mean for a model, so that `edit` and `check` can say it.

    On scenes of the bundled world it makes and judges edits too, for the probability that one
    succeeds; with --prompts it draws pictures of its own and learns what they and their sentences
    are like. Spoilt pictures and wrong sentences are among the trials. `--evaluate` prints how well
    each kind is told from right ones, on other scenes and with kinds that no calibration sees.
    """
    if count < 4:
        raise InputError(f"--count is 4 or more, not {count}")
    first = seed if seed is not None else FRESH if evaluated else SEED
    from counterflow.backbones.identity import identify
    from counterflow.backbones.registry import known_words, local_folder
    from counterflow.edit.checks import check_seed
    from counterflow.toybox.scene import check_fresh

    loading.check()
    if output is not None:
        check_output(output, ".json")
    sentences = None if prompts is None else _sentences(prompts, count)
    check_seed(first)
    if sentences is None:
        check_fresh(first, 3 * count + 1)
    from counterflow.bench.trust import calibrate as calibrating
    from counterflow.bench.trust.measure import drawn, measure, scenes
    from counterflow.edit.editor import Editor
    from counterflow.toybox import judge
    from counterflow.trust import calibration

    identity = identify(loading)
    known = calibration.find(identity) if evaluated else None
    if evaluated and known is None:
        raise InputError(
            f"{loading.model} has no calibration: run counterflow calibrate without --evaluate"
        )
    folder = local_folder(loading.model)
    if sentences is None and (folder is None or known_words(folder) is None):
        raise InputError(
            f"{loading.model} is not of the bundled world, as it lists no words of it: give "
            "--prompts, sentences that it can draw"
        )
    with show.progress() as progress:
        editor = Editor.load(loading)
        if sentences is None:
            trials, expected = scenes(first, count, evaluated)
        else:
            trials, expected = drawn(editor, sentences, first, evaluated)
        rows = measure(editor, judge.load(), trials, expected, progress)
    if known is not None:
        found = calibrating.evaluate(known, rows)
        _print_evaluation(found, json)
        return
    how = f"counterflow calibrate --count {count} --seed {first}"
    how += "" if prompts is None else f" --prompts {prompts.name}"
    path = output or calibration.own_folder() / calibration.file_name(identity)
    calibrating.calibrate(identity, rows, how, sentences is None).write(path)
    if json:
        show.as_json({"path": str(path), "model": identity, "trials": len(rows)})
    else:
        show.line(path)


def _sentences(path: Path, count: int) -> list[str]:
    """The first sentences of a file, a line each."""
    from counterflow.outside import read_text

    lines = [line.strip() for line in read_text(path, 1 << 20).splitlines() if line.strip()]
    lines = list(dict.fromkeys(lines))[:count]
    if len(lines) < 4:
        raise InputError(f"{path} has {len(lines)} sentences; give at least 4, one a line")
    return lines


def _print_evaluation(found: dict[str, Any], json: bool) -> None:
    """A row for each kind of trial, and one for each probability."""
    if json:
        show.as_json(found)
        return
    for part, first in (("kinds", "kind"), ("probabilities", "probability")):
        rows = found[part]
        if rows:
            header = list(next(iter(rows.values())))
            cells = [[name, *map(_cell, row.values())] for name, row in rows.items()]
            show.table([first, *header], cells)
            show.line()


def _cell(value: Any) -> Any:
    """As it is; the bounds of an interval in words."""
    return "{:.2f} to {:.2f}".format(*value) if isinstance(value, tuple) else value


def _print(report: Report, inversion: Inversion) -> None:
    from counterflow.trust.report import MEANINGS, enlarged, overall, sentence

    shown = report.figures | report.noise | {"residual": inversion.residual}
    show.table(
        ["figure", "value", "usual ones below", "meaning"],
        [
            [name, value, _share(report.places.get(name)), MEANINGS[name.rstrip(" .0123456789")]]
            for name, value in shown.items()
        ],
    )
    show.line()
    for line in (overall(report), enlarged(report.size, report.worked)):
        if line:
            show.line(line)
    for n, edit in enumerate(report.edits):
        show.line(f"{show.brief(edit.target)}: {sentence(report, n)}")


def _share(place: float | None) -> str:
    return "n/a" if place is None else f"{place:.0%}".replace("%", " %")
