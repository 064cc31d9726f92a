"""`tune`: one search for every method's settings, with the same number of trials for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import completing, show
from counterflow.cli.bench import Folder
from counterflow.cli.options import TOYBOX, Json, opens_a_model
from counterflow.cli.workers import Address, EngineName, Workers, chosen
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.bench.engine import Condition
    from counterflow.bench.results import Bench

SEED = 300_000
"""First seed of the cases that are tuned on; reports are made on others."""


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(tune)


@opens_a_model
def tune(
    output: Folder,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method, or all; may be repeated. Default all.",
            autocompletion=completing.some_methods,
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="Settings that are tried of each method.")] = 16,
    most: Annotated[
        int, typer.Option(help="Most forwards of the settings, for the first target.")
    ] = 40,
    seed: Annotated[int, typer.Option(help="ToyPIE's first seed: not one to report on.")] = SEED,
    loading: Loading = TOYBOX,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Search for good settings of methods on ToyPIE, with the same effort for each.

    Random settings on ten cases, the better 40 % of them on thirty, the best 15 % on sixty.
    `bench --tuned OUTPUT/tuned.json` takes the best of each method. The same command continues an
    interrupted search.
    """
    from counterflow.backbones.identity import identify
    from counterflow.methods import registry
    from counterflow.toybox.scene import check_fresh

    names = list(registry.entries()) if not method or "all" in method else list(method)
    for name in names:
        registry.entry(name)
    if not 1 <= trials <= 1000 or most < 1:
        raise InputError("--trials is 1 to 1000 and --most is 1 or more")
    check_fresh(seed, 400)
    loading.check()
    from counterflow.bench import run as runs
    from counterflow.bench.engine import Setup
    from counterflow.bench.sets import cases as sets
    from counterflow.bench.tune import record
    from counterflow.bench.tune.search import search
    from counterflow.files import locked

    setup, works = Setup(loading), chosen(engine, workers, None, address, loading)
    with locked(output), show.progress() as progress:
        cases = sets.read(sets.TOYPIE, seed)
        facts = runs.describe(setup, identify(loading), sets.TOYPIE, seed, None)

        def run(counts: Mapping[Condition, int]) -> Bench:
            plan = {each: cases[:count] for each, count in counts.items()}
            return runs.run(output, facts, plan, setup, works.executor, progress)

        ranked = search(names, trials, most, seed, run)
        about = {"seed": seed, "trials": trials, "most": most, "model": facts.model}
        path = record.write(output, about, ranked)
    if json:
        show.as_json({"path": str(path)} | record.as_dict(about, ranked))
        return
    header = ["method", "forwards", "further", "score", "success", "kept", "PSNR", "distance"]
    rows = [
        [name, best.forwards, best.further, f"{best.score:.3f}"]
        + [best.figures[key] for key in ("success", "kept", "PSNR", "distance")]
        + [" ".join(f"{k}={v}" for k, v in registry.changed(name, best.condition.method).items())]
        for name, (best, *_) in ((name, each) for name, each in ranked.items() if each)
    ]
    show.table([*header, "settings"], rows)
    show.line(f"\n{path}: counterflow bench --tuned {path}")
