"""`vital-blocks`: which blocks of a model decide most of its pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.options import TOYBOX, Json, opens_a_model
from counterflow.errors import InputError

MOST = 1000
"""Most prompts: each takes a generation for every block."""


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command("vital-blocks")(vital_blocks)


@opens_a_model
def vital_blocks(
    loading: Loading = TOYBOX,
    prompts: Annotated[int, typer.Option(help="Number of prompts: captions of scenes.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the first prompt and of its noise.")] = 0,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    json: Json = False,
) -> None:
    """Generate with each block bypassed, and print how much the pictures change (Stable Flow)."""
    from counterflow.edit.checks import check_generate

    if not 1 <= prompts <= MOST:
        raise InputError(f"--prompts is 1 to {MOST}, not {prompts}")
    check_generate(steps, guidance, seed, 128, 128)
    loading.check()
    with show.progress() as progress:
        from counterflow.bench import vital
        from counterflow.edit.editor import Editor

        editor = Editor.load(loading)
        asked = vital.prompts(prompts, seed)
        found = vital.vitality(editor, asked, steps, guidance, seed, progress)
    if json:
        facts = {"model": editor.backbone.identity, "likeness": found.likeness, "prompts": prompts}
        more = {"steps": steps, "guidance": guidance, "seed": seed, "vitality": found.values}
        show.as_json(facts | more | {"threshold": found.threshold, "vital": found.vital})
        return
    rows = [
        [n, f"{value:.3f}", "vital" if n in found.vital else ""]
        for n, value in enumerate(found.values)
    ]
    show.table(["block", "vitality", ""], rows)
    show.line(
        f"\n{found.likeness} of {prompts} pictures; vital above {found.threshold:.3f}, "
        f"the mean and {vital.SPREADS:g} standard deviations"
    )
    if found.vital:
        show.line(f"--set blocks={','.join(map(str, found.vital))}")
