"""`bench` and `experiments`."""

from __future__ import annotations

import json as jsonlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.cli import show
from counterflow.cli.options import Device, Dtype, Json, Model
from counterflow.edit.methods import METHODS, named
from counterflow.errors import InputError

TOYPIE_SEED = 10_000
MOST = 160
"""Cases of an experiment: some take two and a half times as many."""
Workers = Annotated[
    int | None,
    typer.Option(help="Processes; default one for each core with the bundled model, else 1."),
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (bench, experiments):
        app.command()(command)


def bench(
    output: Folder,
    cases: Annotated[
        str,
        typer.Option(
            help="toypie, a folder in PIE-Bench's format, or a YAML list like FlowEdit's."
        ),
    ] = "toypie",
    method: Annotated[
        list[str] | None, typer.Option(help=f"May be repeated: {', '.join(METHODS)}.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every method, as steps=10; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Cases, of all kinds in turn.")] = None,
    seed: Annotated[int, typer.Option(help="ToyPIE's first seed.")] = TOYPIE_SEED,
    profile: Annotated[str, typer.Option(help="corrected or pie-compat.")] = "corrected",
    model: Model = "toybox",
    device: Device = None,
    dtype: Dtype = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Run methods over a benchmark; a run that was interrupted goes on where it stopped."""
    from counterflow.backbones.registry import check_options, identify

    options = _options(change or [])
    methods = [named(name).but(options) for name in method or ["ftedit"]]
    if len({each.name for each in methods}) < len(methods):
        raise InputError("a --method is given twice")
    check_options(model, device, dtype)
    with show.progress() as progress:
        from counterflow import __version__
        from counterflow.bench import cases as sets
        from counterflow.bench import results, run
        from counterflow.bench.engine import Setup
        from counterflow.bench.files import locked
        from counterflow.metrics.networks import at_hand
        from counterflow.toybox import judge

        chosen = sets.read(cases, seed, None, limit, profile)  # type: ignore[arg-type]
        judged = any(case.edit is not None for case in chosen)
        facts = results.Bench(
            cases=sets.label(cases),
            seed=seed if cases == sets.TOYPIE else None,
            limit=limit,
            profile=profile,
            model=identify(model),
            counterflow=__version__,
            judge=judge.accuracy()["round_trips"] if judged else None,
            notes=tuple(at_hand().missing.values()),
            device=device,
            dtype=dtype,
        )
        setup = Setup(model, device, dtype, judged, profile)
        with locked(output):
            made = run.run(
                output, facts, chosen, methods, setup, _workers(workers, model, device), progress
            )
    names = {each.name for each in methods}
    told = results.summarise(made)
    told["methods"] = {k: v for k, v in told["methods"].items() if k in names}
    if json:
        show.as_json(told)
        return
    _print(told, output)


def experiments(
    output: Folder = Path("out/experiments"),
    name: Annotated[
        list[str] | None, typer.Argument(help="Which; default all. --list names them.")
    ] = None,
    count: Annotated[int, typer.Option(help="Cases of an experiment.")] = 40,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 20,
    seed: Annotated[int, typer.Option(help="ToyPIE's first seed.")] = TOYPIE_SEED,
    model: Model = "toybox",
    device: Device = None,
    dtype: Dtype = None,
    workers: Workers = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the experiments.")] = False,
    json: Json = False,
) -> None:
    """Run the paper's comparisons and ablations, and say of each claim whether it holds here."""
    from counterflow.backbones.registry import check_options, identify
    from counterflow.edit.settings import InvertSettings
    from counterflow.toybox.scene import check_fresh

    InvertSettings(steps=steps)
    if not 2 <= count <= MOST:
        raise InputError(f"--count is 2 to {MOST}, as ToyPIE has 400 cases, not {count}")
    check_fresh(seed, 400)
    check_options(model, device, dtype)
    from counterflow.bench.experiments import EXPERIMENTS

    if listed:
        show.table(["name", "experiment"], [[k, v.title] for k, v in EXPERIMENTS.items()])
        return
    unknown = [each for each in name or [] if each not in EXPERIMENTS]
    if unknown:
        raise InputError(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
    chosen = [EXPERIMENTS[each] for each in name or EXPERIMENTS]
    from counterflow.bench.engine import Setup
    from counterflow.bench.experiments import page, run
    from counterflow.bench.files import locked
    from counterflow.images import save_bytes_atomically
    from counterflow.toybox import judge

    setup, many = Setup(model, device, dtype), _workers(workers, model, device)
    sample = run.Sample(setup, identify(model), seed, count, steps, many)
    with locked(output), show.progress() as progress:
        found, store = run.run(chosen, sample, output, progress)
    written = page.build(found, sample, store, judge.accuracy()["round_trips"])
    save_bytes_atomically(output / "experiments.html", written.html().encode())
    save_bytes_atomically(output / "experiments.json", page.as_text(found, sample).encode())
    if json:
        show.as_json(page.summarise(found, sample) | {"page": str(output / "experiments.html")})
        return
    for each in found:
        if (verdict := each.section.verdict) is not None:
            print(f"{each.experiment.name}: {verdict.word}. {verdict.claim}\n  {verdict.sentence}")
    for error in store.errors[:5]:
        print(f"failed, and left out: {error}")
    print(f"\n{output / 'experiments.html'}")


def _options(given: list[str]) -> dict[str, Any]:
    """`steps=10` as a setting and its value, which is JSON or a word."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set is written as steps=10, not {text!r}")
        try:
            found[name] = jsonlib.loads(value)
        except ValueError:
            found[name] = value
    return found


def _workers(asked: int | None, model: str, device: str | None) -> int:
    if asked is not None and asked < 1:
        raise InputError(f"--workers is 1 or more, not {asked}")
    from counterflow.backbones.registry import pick_device

    alone = model != "toybox" or pick_device(device) != "cpu"
    return asked or (1 if alone else os.cpu_count() or 1)


def _print(told: dict[str, Any], output: Path) -> None:
    names = ("success", "kept", "PSNR", "distance", "forwards", "seconds")
    rows = []
    for name, method in told["methods"].items():
        for kind, group in [*method["categories"].items(), ("all", method["all"])]:
            means = [group["figures"][figure]["mean"] for figure in names]
            rows.append([name, kind or "none", group["cases"], *means])
    show.table(["method", "kind", "cases", *names], rows)
    errors = sum(method["all"]["errors"] for method in told["methods"].values())
    if errors:
        print(f"\nfailed, and tried again by another run: {errors}; {told['first error']}")
    for note in told["notes"]:
        print(note)
    print(f"\n{output}: counterflow report {output} draws the page")
