"""`toybox measure`, `composed`, `obey` and `gallery`: figures and pictures of fresh scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.cli import show
from counterflow.cli.options import Iterations, Json, Model, Output, Steps
from counterflow.cli.outputs import check_output
from counterflow.errors import InputError

Count = Annotated[int, typer.Option(help="Number of fresh scenes.")]
FirstSeed = Annotated[int, typer.Option(help="Seed of the first scene.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance.")]


GALLERY = 30
"""Scenes in the gallery: three for each of ten kinds."""


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (measure, composed, obey, gallery):
        app.command()(command)


def measure(
    count: Count = 100,
    seed: FirstSeed = 1000,
    steps: Steps = 30,
    iterations: Iterations = 3,
    guidance: Guidance = 2.0,
    text_ratio: Annotated[float, typer.Option(help="Share of steps with the text control.")] = 1.0,
    attention_ratio: Annotated[
        float, typer.Option(help="Share of steps with attention injection.")
    ] = 0.0,
    model: Model = "toybox",
    sheet: Annotated[
        Path | None, typer.Option(help="Draw source, edit and truth of every case here.")
    ] = None,
    json: Json = False,
) -> None:
    """Edit fresh scenes whose true edited picture is known, and print how close the edits came."""
    from counterflow.edit.settings import EditSettings, InvertSettings

    invert = InvertSettings(steps=steps, iterations=iterations)
    settings = EditSettings(
        guidance=guidance, text_ratio=text_ratio, attention_ratio=attention_ratio
    )
    _check(count, seed, model, sheet)
    with show.progress() as progress:
        from counterflow.bench.measure import draw_cases, measure_edits, summarise
        from counterflow.edit.editor import Editor
        from counterflow.toybox import judge

        cases = measure_edits(
            Editor.load(model), judge.load(), count, seed, invert, settings, progress
        )
    if sheet is not None:
        from counterflow.images import save_png

        save_png(draw_cases(cases), sheet, None)
    rows = summarise(cases)
    if json:
        made = {"count": count, "seed": seed, "judge": judge.accuracy()}
        made |= {"invert": invert.to_dict(), "edit": settings.to_dict(), "categories": rows}
        show.as_json(made)
        return
    header = list(rows[0])
    show.table(header, [[row[name] for name in header] for row in rows])
    print(f"\n{_judged_by()}")


def composed(
    count: Count = 200,
    seed: FirstSeed = 3000,
    model: Model = "toybox",
    json: Json = False,
) -> None:
    """Measure whether text features are token-local: what the paper's control rests on."""
    _check(count, seed, model, None)
    with show.progress() as progress:
        from counterflow.bench.composed import measure_composed
        from counterflow.edit.editor import Editor
        from counterflow.toybox import judge

        rows = measure_composed(Editor.load(model), judge.load(), count, seed, progress=progress)
    if json:
        made = {"count": count, "seed": seed, "judge": judge.accuracy(), "categories": rows}
        show.as_json(made)
        return
    show.table(list(rows[0]), [list(row.values()) for row in rows])
    print(f"\n{_judged_by()}")


def obey(
    count: Count = 500,
    seed: FirstSeed = 5000,
    steps: Steps = 28,
    guidance: Guidance = 3.0,
    model: Model = "toybox",
    sheet: Annotated[
        Path | None, typer.Option(help="Draw every picture here, the most wrong first.")
    ] = None,
    json: Json = False,
) -> None:
    """Generate from fresh captions, and print how often the pictures show what they say."""
    from counterflow.edit.settings import check_generate

    check_generate(steps, guidance, seed, 128, 128)
    _check(count, seed, model, sheet)
    with show.progress() as progress:
        from counterflow.bench import judged
        from counterflow.edit.editor import Editor
        from counterflow.toybox import judge

        made = judged.obey(
            Editor.load(model), judge.load(), count, seed, steps, guidance, progress=progress
        )
    if sheet is not None:
        from counterflow.images import save_png

        save_png(judged.draw_obeyed(made), sheet, None)
    figures = judged.summarise_obeyed(made)
    if json:
        asked: dict[str, Any] = {"count": count, "seed": seed, "steps": steps}
        show.as_json(asked | {"guidance": guidance, "judge": judge.accuracy()} | figures)
        return
    rows = [[k, v["pictures"], v["accuracy"]] for k, v in figures["fields"].items()]
    rows += [["mean", count, figures["mean"]], ["all right", count, figures["all right"]]]
    show.table(["field", "pictures", "accuracy"], rows)
    print(f"\n{_judged_by()}")


def gallery(
    output: Output,
    seed: FirstSeed = 20_000,
    model: Model = "toybox",
    json: Json = False,
) -> None:
    """Draw a row of edits for each kind, not chosen, beside their true pictures."""
    check_output(output)
    _check(GALLERY, seed, model, None)
    with show.progress() as progress:
        from counterflow.bench.gallery import draw_gallery
        from counterflow.edit.editor import Editor
        from counterflow.images import save_png
        from counterflow.toybox import judge

        picture, good, count = draw_gallery(
            Editor.load(model), judge.load(), seed, progress=progress
        )
    save_png(picture, output, {"command": "toybox gallery", "seed": seed, "model": model})
    if json:
        made = {"image": str(output), "edits": count, "successes": good}
        show.as_json(made | {"judge": judge.accuracy()})
    else:
        print(f"{output}: {good} of {count} edits succeed by the judge\n{_judged_by()}")


def _check(count: int, seed: int, model: str, sheet: Path | None) -> None:
    """Refuse, before anything is loaded, what cannot be measured."""
    from counterflow.backbones.registry import check_options
    from counterflow.toybox.scene import check_fresh

    if count < 1:
        raise InputError(f"--count is 1 or more, not {count}")
    check_fresh(seed, count)
    check_options(model, None, None)
    if sheet is not None:
        check_output(sheet)


def _judged_by() -> str:
    from counterflow.toybox import judge

    told = judge.accuracy()["round_trips"]
    worst = min(told, key=lambda name: told[name])
    each = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
    return f"judge on held-out round trips: {each}; worst {worst}"
