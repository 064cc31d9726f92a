"""`toybox draw`, `judge`, `cases` and `train`; `counterflow.cli.measures` has the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.cli import measures, show, streams
from counterflow.cli.options import Device, ImageArg, Json, Output
from counterflow.cli.outputs import check_picture
from counterflow.errors import InputError

app = typer.Typer(
    help="The bundled world: draw scenes, judge pictures, train the model, measure edits.",
    no_args_is_help=True,
)


@app.command()
def draw(
    output: Output,
    seed: Annotated[int, typer.Option(help="Seed of the scene.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels of a side.")] = 128,
    count: Annotated[
        int, typer.Option(help="Number of scenes; more than one are drawn on one sheet.")
    ] = 1,
    json: Json = False,
) -> None:
    """Draw the scene of a seed and print its caption, or draw many scenes on one sheet."""
    from counterflow.sheet import Cell, sheet
    from counterflow.toybox.captions import caption
    from counterflow.toybox.render import render
    from counterflow.toybox.scene import sample

    _check_size(size)
    if not 1 <= count <= 1000:
        raise InputError(f"--count is from 1 to 1000, not {count}")
    check_picture(output, json)
    scenes = [sample(seed + i) for i in range(count)]
    described = [{"caption": caption(scene), "scene": scene.to_dict()} for scene in scenes]
    pictures = [render(scene, size) for scene in scenes]
    record = {"command": "toybox draw", "seed": seed, "size": size, "count": count}
    if count == 1:
        streams.write(pictures[0], output, record | described[0])
    else:
        cells = [Cell(p, caption(s)) for p, s in zip(pictures, scenes, strict=True)]
        streams.write(sheet(cells, min(count, 10), size), output, record)
    if json:
        show.as_json(
            {"image": str(output)} | (described[0] if count == 1 else {"scenes": described})
        )
    else:
        with streams.reporting(output):
            show.line(described[0]["caption"] if count == 1 else output)


@app.command()
def judge(image: ImageArg, json: Json = False) -> None:
    """Read a toybox picture: print the value and the probability of each field.

    It says so of a picture that is none of the bundled world: what is read there means nothing.
    """
    from counterflow.images import load

    data = streams.piped(image)
    picture = load(image if data is None else data)
    from counterflow.toybox import judge

    reader = judge.load()
    reading, energy = next(reader.read([picture])), reader.energy(picture)
    known = energy >= judge.KNOWN
    if json:
        facts = {"known": known, "energy": energy}
        show.as_json({name: vars(each) for name, each in reading.items()} | {"picture": facts})
    else:
        if not known:
            show.line(
                "This is no picture of the bundled world, and what is read here means nothing "
                f"(energy {energy:.1f}; its pictures have {judge.KNOWN:g} or more)."
            )
        show.table(
            ["field", "value", "probability"],
            [[name, str(each.value), each.probability] for name, each in reading.items()],
        )


@app.command()
def cases(
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    seed: Annotated[
        int, typer.Option(help="Seed of the first scene; default that of the shipped benchmark.")
    ] = 10_000,
    per_category: Annotated[
        int, typer.Option(help="Number of cases of each of the ten kinds.")
    ] = 40,
    size: Annotated[
        int, typer.Option(help="Pixels of a side; 512 is the size of the masks.")
    ] = 128,
    json: Json = False,
) -> None:
    """Write ToyPIE: edits in PIE-Bench's format, with the true edited pictures and scenes."""
    if per_category < 1:
        raise InputError(f"--per-category is 1 or more, not {per_category}")
    _check_size(size)
    from counterflow.bench.sets.toypie import write_cases
    from counterflow.toybox.scene import check_fresh

    check_fresh(seed, 10 * per_category)
    with show.progress() as progress:
        edits = write_cases(output, seed, per_category, size, progress)
    if json:
        facts = {"seed": seed, "per_category": per_category, "size": size, "cases": len(edits)}
        show.as_json({"folder": str(output)} | facts)
    else:
        show.line(f"{output}: {len(edits)} cases")


@app.command()
def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of checkpoints, log and results.")
    ],
    architecture: Annotated[
        str, typer.Option(help="sd3 (toybox), or flux (toybox-flux) with toybox's autoencoder.")
    ] = "sd3",
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 1,
    vae_steps: Annotated[int | None, typer.Option(help="Steps of the autoencoder.")] = None,
    decoder_steps: Annotated[
        int | None, typer.Option(help="Further steps of the decoder alone.")
    ] = None,
    judge_steps: Annotated[int | None, typer.Option(help="Steps of the judge.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Number of scenes to learn from.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the image model.")] = None,
    brief_steps: Annotated[
        int | None,
        typer.Option(help="Further steps of the image model, with shorter captions too."),
    ] = None,
    guidance_steps: Annotated[
        int | None,
        typer.Option(help="Further steps in which flux learns to be told its guidance."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Number of pictures in a step of the image model.")
    ] = None,
    device: Device = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many minutes; run again to continue.")
    ] = None,
    compile: Annotated[
        bool, typer.Option(help="Compile the image model (needs a C++ compiler).")
    ] = True,
) -> None:
    """Train a bundled model from scratch, sd3 with its judge; run again to continue.

    The defaults take two to two and a half hours on two cores, flux half of that; with a GPU they
    train more. 0 steps of the autoencoder take toybox's, and 0 steps of another stage leave it out.
    """
    given = {
        "vae_steps": vae_steps,
        "decoder_steps": decoder_steps,
        "judge_steps": judge_steps,
        "scenes": scenes,
        "steps": steps,
        "brief_steps": brief_steps,
        "guidance_steps": guidance_steps,
        "batch": batch,
    }
    for name, value in given.items():
        least = 1 if name in ("scenes", "steps", "batch") else 0
        if value is not None and value < least:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is {least} or more, not {value}")
    from counterflow.backbones.loading import Loading
    from counterflow.backbones.opening import pick_device
    from counterflow.edit.checks import check_seed

    check_seed(seed)
    Loading(device=device).check()
    import torch

    from counterflow.toybox.train import recipe, stage

    torch_device = torch.device(pick_device(device))
    chosen = recipe.choose(torch_device, architecture, seed=seed, compile=compile, **given)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{output} cannot be made a folder ({error.strerror}); name another"
        ) from None
    outcome: Any = recipe.train(output, chosen, stage.Log(output, print), minutes, torch_device)
    show.line(outcome or f"stopped after {minutes:g} minutes; run the same command to continue")


def _check_size(size: int) -> None:
    if not 16 <= size <= 2048:
        raise InputError(f"--size is from 16 to 2048 pixels, not {size}")


measures.register(app)
