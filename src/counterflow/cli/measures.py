"""`toybox composed`, `obey` and `gallery`: figures and pictures of fresh scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.options import TOYBOX, Json, MethodName, Output, Set, opens_a_model, pairs
from counterflow.cli.outputs import check_output
from counterflow.errors import InputError

Count = Annotated[int, typer.Option(help="Number of fresh scenes.")]
FirstSeed = Annotated[int, typer.Option(help="Seed of the first scene.")]

GALLERY = 30
"""Number of scenes in the gallery: three for each of ten kinds of edit."""


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (composed, obey, gallery):
        app.command()(command)


@opens_a_model
def composed(
    count: Count = 200,
    seed: FirstSeed = 3000,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Measure whether text features belong to single tokens, as the paper's control assumes."""
    _check(count, seed, loading, None)
    with show.progress() as progress:
        from counterflow.bench.toy.composed import measure_composed
        from counterflow.edit.editor import Editor
        from counterflow.toybox import judge

        rows = measure_composed(Editor.load(loading), judge.load(), count, seed, progress=progress)
    if json:
        facts = {"count": count, "seed": seed, "judge": judge.accuracy(), "categories": rows}
        show.as_json(facts)
        return
    show.table(list(rows[0]), [list(row.values()) for row in rows])
    show.line(f"\n{_judge_accuracy()}")


@opens_a_model
def obey(
    count: Count = 500,
    seed: FirstSeed = 5000,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 28,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    loading: Loading = TOYBOX,
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG to draw every picture in, the most wrong first.")
    ] = None,
    json: Json = False,
) -> None:
    """Generate from fresh captions, and print how often the pictures show what is asked."""
    from counterflow.edit.checks import check_generate

    check_generate(steps, guidance, seed, 128, 128)
    _check(count, seed, loading, sheet)
    with show.progress() as progress:
        from counterflow.bench.toy import obey as obeying
        from counterflow.edit.editor import Editor
        from counterflow.toybox import judge

        pictures = obeying.obey(
            Editor.load(loading), judge.load(), count, seed, steps, guidance, progress=progress
        )
    if sheet is not None:
        from counterflow.images import save_png

        save_png(obeying.draw_obeyed(pictures), sheet, None)
    figures = obeying.accuracy(pictures)
    if json:
        facts: dict[str, Any] = {"count": count, "seed": seed, "steps": steps}
        show.as_json(facts | {"guidance": guidance, "judge": judge.accuracy()} | figures)
        return
    rows = [[k, v["pictures"], v["accuracy"]] for k, v in figures["fields"].items()]
    rows += [["mean", count, figures["mean"]], ["all right", count, figures["all right"]]]
    show.table(["field", "pictures", "accuracy"], rows)
    show.line(f"\n{_judge_accuracy()}")


@opens_a_model
def gallery(
    output: Output,
    seed: FirstSeed = 20_000,
    method: MethodName = None,
    change: Set = None,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Draw a row of edits of each kind, without selection, beside the true pictures."""
    check_output(output)
    _check(GALLERY, seed, loading, None)
    from counterflow.methods import registry

    variant = registry.variant(method or "ftedit", pairs(change))
    with show.progress() as progress:
        from counterflow.bench.engine import Condition, Engine
        from counterflow.bench.toy.gallery import draw_gallery
        from counterflow.edit.editor import Editor
        from counterflow.images import save_png
        from counterflow.toybox import judge

        condition = Condition(variant.name, variant.title, variant.method)
        engine = Engine(Editor.load(loading), judge.load())
        picture, successes, count = draw_gallery(engine, condition, seed, progress=progress)
    record = {"command": "toybox gallery", "seed": seed, "model": loading.model}
    settings = {"method": variant.method.name, "settings": variant.method.to_dict()}
    save_png(picture, output, record | settings)
    if json:
        facts = {"image": str(output), "edits": count, "successes": successes}
        show.as_json(facts | {"judge": judge.accuracy()})
    else:
        edits = f"{successes} of {count} edits succeed by the judge"
        show.line(f"{output}: {edits}\n{_judge_accuracy()}")


def _check(count: int, seed: int, loading: Loading, sheet: Path | None) -> None:
    """Raise InputError or ModelError for wrong options, before anything is loaded."""
    from counterflow.toybox.scene import check_fresh

    if count < 1:
        raise InputError(f"--count is 1 or more, not {count}")
    check_fresh(seed, count)
    loading.check()
    if sheet is not None:
        check_output(sheet)


def _judge_accuracy() -> str:
    from counterflow.toybox import judge

    return show.judged(judge.accuracy()["round_trips"])
