"""`toybox draw`, `toybox measure` and `toybox train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.cli import show
from counterflow.cli.options import Json
from counterflow.cli.outputs import check_output
from counterflow.errors import InputError

app = typer.Typer(
    help="The bundled world: draw it, train its model, measure edits in it.", no_args_is_help=True
)


@app.command()
def draw(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the PNG goes.")],
    seed: Annotated[int, typer.Option(help="Seed of the scene.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels of a side.")] = 128,
    json: Json = False,
) -> None:
    """Draw the scene of a seed, and say its caption."""
    from counterflow.images import save_png
    from counterflow.toybox.captions import caption
    from counterflow.toybox.render import render
    from counterflow.toybox.scene import sample

    if not 16 <= size <= 2048:
        raise InputError(f"--size is from 16 to 2048 pixels, not {size}")
    check_output(output)
    scene = sample(seed)
    made = {"image": str(output), "caption": caption(scene), "scene": scene.to_dict()}
    save_png(
        render(scene, size), output, {"command": "toybox draw", "seed": seed, "size": size} | made
    )
    if json:
        show.as_json(made)
    else:
        print(made["caption"])


@app.command()
def measure(
    count: Annotated[int, typer.Option(help="Number of fresh scenes.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the first scene.")] = 1000,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 30,
    iterations: Annotated[int, typer.Option(help="Fixed-point iterations.")] = 3,
    guidance: Annotated[float, typer.Option(help="Guidance of the target.")] = 2.0,
    text_ratio: Annotated[float, typer.Option(help="Share of steps with the text control.")] = 1.0,
    attention_ratio: Annotated[
        float, typer.Option(help="Share of steps with attention injection.")
    ] = 0.0,
    model: Annotated[str, typer.Option(help="toybox, or another model folder.")] = "toybox",
    sheet: Annotated[
        Path | None, typer.Option(help="Draw source, edit and truth of every case here.")
    ] = None,
    json: Json = False,
) -> None:
    """Edit fresh scenes whose true edited picture is known, and print how close the edits came."""
    from counterflow.backbones.registry import check_options
    from counterflow.edit.settings import EditSettings, InvertSettings

    if count < 1:
        raise InputError(f"--count is 1 or more, not {count}")
    invert = InvertSettings(steps=steps, iterations=iterations)
    settings = EditSettings(
        guidance=guidance, text_ratio=text_ratio, attention_ratio=attention_ratio
    )
    check_options(model, None, None)
    if sheet is not None:
        check_output(sheet)
    with show.progress() as progress:
        from counterflow.bench.measure import draw_cases, measure_edits, summarise
        from counterflow.edit.editor import Editor

        cases = measure_edits(Editor.load(model), count, seed, invert, settings, progress)
    if sheet is not None:
        from counterflow.images import save_png

        save_png(draw_cases(cases), sheet, None)
    rows = summarise(cases)
    if json:
        show.as_json(
            {
                "count": count,
                "seed": seed,
                "invert": invert.to_dict(),
                "edit": settings.to_dict(),
                "categories": rows,
            }
        )
        return
    header = list(rows[0])
    show.table(header, [[row[name] for name in header] for row in rows])


@app.command()
def composed(
    count: Annotated[int, typer.Option(help="Number of fresh edits.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the first scene.")] = 3000,
    model: Annotated[str, typer.Option(help="toybox, or another model folder.")] = "toybox",
    json: Json = False,
) -> None:
    """Measure whether text features are token-local: what the paper's control rests on."""
    from counterflow.backbones.registry import check_options

    if count < 1:
        raise InputError(f"--count is 1 or more, not {count}")
    check_options(model, None, None)
    with show.progress() as progress:
        from counterflow.bench.composed import measure_composed
        from counterflow.edit.editor import Editor

        rows = measure_composed(Editor.load(model), count, seed, progress=progress)
    if json:
        show.as_json({"count": count, "seed": seed, "categories": rows})
        return
    show.table(list(rows[0]), [list(row.values()) for row in rows])


@app.command()
def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of checkpoints, log and pipeline.")
    ],
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 1,
    vae_steps: Annotated[int, typer.Option(help="Steps of the autoencoder.")] = 4600,
    scenes: Annotated[int, typer.Option(help="Scenes to learn from.")] = 30_000,
    steps: Annotated[int, typer.Option(help="Steps of the image model.")] = 2500,
    batch: Annotated[int, typer.Option(help="Pictures in a step of the image model.")] = 64,
    decoder_steps: Annotated[int, typer.Option(help="Last steps, of the decoder alone.")] = 1500,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this long; run again to go on.")
    ] = None,
    compile: Annotated[
        bool, typer.Option(help="Compile the image model (needs a C++ compiler).")
    ] = True,
) -> None:
    """Train the bundled model from scratch; run again to resume."""
    for name, value in {
        "vae-steps": vae_steps,
        "scenes": scenes,
        "steps": steps,
        "batch": batch,
    }.items():
        if value < 1:
            raise InputError(f"--{name} is 1 or more, not {value}")
    if decoder_steps < 0:
        raise InputError(f"--decoder-steps is 0 or more, not {decoder_steps}")
    from counterflow.edit.settings import check_seed
    from counterflow.toybox.train import recipe, stage

    check_seed(seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be a folder: {error.strerror}") from None
    chosen = recipe.Recipe(
        seed=seed,
        vae_steps=vae_steps,
        scenes=scenes,
        steps=steps,
        batch=batch,
        decoder_steps=decoder_steps,
        compile=compile,
    )
    made: Any = recipe.train(output, chosen, stage.Log(output, print), minutes)
    print(made or f"stopped after {minutes:g} minutes; run the same command to go on")
