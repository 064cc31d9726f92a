"""`bench`, `bench cost` and `experiments`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from counterflow.backbones.loading import Loading
from counterflow.cli import completing, show
from counterflow.cli.cost import cost
from counterflow.cli.options import TOYBOX, Budget, Json, SetSome, Tuned, opens_a_model
from counterflow.cli.outputs import check_output
from counterflow.cli.size import size
from counterflow.cli.variants import variants
from counterflow.cli.workers import Address, EngineName, Workers
from counterflow.cli.workers import chosen as chosen_executor
from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.bench.engine import Condition
    from counterflow.bench.experiments.run import Finding
    from counterflow.bench.results import Bench
    from counterflow.bench.sets.cases import Case

TOYPIE_SEED = 10_000
MOST = 1000
"""Most cases of an experiment; some use two and a half times as many."""
SHOWN = (
    *("success", "kept", "moved", "distance", "PSNR", "round trip"),
    *("forwards", "seconds"),
)
"""Figures in the table that `bench` prints."""
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")]


class Group(TyperGroup):
    """A group whose function gets a context of the class that it asks for."""

    context_class = typer.Context


def register(app: typer.Typer) -> None:
    """Add the commands of this file, and the one inside `bench`."""
    group = typer.Typer(cls=Group)
    group.callback(invoke_without_command=True)(bench)
    for part in (cost, size):
        group.command()(part)
    app.add_typer(group, name="bench")
    app.command(hidden=True)(cost)  # its name before
    app.command()(experiments)


@opens_a_model
def bench(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the results.")
    ] = None,
    cases: Annotated[
        str,
        typer.Option(
            help="toypie, a folder in PIE-Bench's format, or a YAML list like FlowEdit's."
        ),
    ] = "toypie",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method of `counterflow methods`, or all; may be repeated. Default ftedit.",
            autocompletion=completing.some_methods,
        ),
    ] = None,
    change: SetSome = None,
    tuned: Tuned = None,
    budget: Budget = None,
    limit: Annotated[
        int | None, typer.Option(help="Number of cases, taken from all kinds in turn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="ToyPIE's first seed.")] = TOYPIE_SEED,
    profile: Annotated[str, typer.Option(help="corrected or pie-compat.")] = "corrected",
    check: Annotated[
        bool,
        typer.Option(help="Tell the chance of success of each edit beforehand, and compare."),
    ] = False,
    loading: Loading = TOYBOX,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="A PNG to draw every case in: the source, the edit by each --method, and the true "
            "picture."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run methods over a benchmark; the same command continues an interrupted run.

    Where a case failed it exits with code 5.
    """
    if context.invoked_subcommand is not None:
        return
    if output is None:
        raise InputError("bench needs a folder for its results: --output")
    conditions = _conditions(method, change or [], tuned, budget)
    from counterflow.backbones.identity import identify

    loading.check()
    if sheet is not None:
        check_output(sheet)
    with show.progress() as progress:
        from counterflow.bench import run
        from counterflow.bench.engine import Setup
        from counterflow.bench.report.summary import summarise
        from counterflow.bench.sets import cases as sets
        from counterflow.files import locked

        chosen = sets.read(cases, seed, None, limit, profile)  # type: ignore[arg-type]
        judged = any(case.edit is not None for case in chosen)
        setup = Setup(loading, judged, profile, check)
        first_seed = seed if cases == sets.TOYPIE else None
        facts = run.describe(setup, identify(loading), sets.label(cases), first_seed, limit)
        plan = dict.fromkeys(conditions, chosen)
        works = chosen_executor(engine, workers, None, address, loading)
        with locked(output):
            results = run.run(output, facts, plan, setup, works.executor, progress)
    if sheet is not None:
        _draw_sheet(sheet, output, results, conditions, chosen)
    summary = summarise(results)
    names = {each.name for each in conditions}
    summary["methods"] = {k: v for k, v in summary["methods"].items() if k in names}
    if json:
        show.as_json(summary)
    else:
        _print(summary, output)
    if any(method["all"]["errors"] for method in summary["methods"].values()):
        raise typer.Exit(show.UNFINISHED)


@opens_a_model
def experiments(
    output: Folder = Path("out/experiments"),
    name: Annotated[
        list[str] | None,
        typer.Argument(help="The experiments to run; default all. --list names them."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of cases of an experiment.")] = 40,
    steps: Annotated[int, typer.Option(help="Steps of the grid.")] = 20,
    seed: Annotated[int, typer.Option(help="ToyPIE's first seed.")] = TOYPIE_SEED,
    loading: Loading = TOYBOX,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the experiments.")] = False,
    json: Json = False,
) -> None:
    """Run the paper's comparisons and ablations, and say for each claim whether it holds here.

    The output folder holds results as `bench` writes them: the same command continues an
    interrupted run, and `report` reads the folder.
    """
    from counterflow.backbones.identity import identify
    from counterflow.bench.sets import toypie
    from counterflow.methods import registry
    from counterflow.toybox.scene import check_fresh

    registry.method("ftedit", steps=steps)
    if not 2 <= count <= MOST:
        raise InputError(f"--count is 2 to {MOST}, not {count}")
    check_fresh(seed, toypie.scene_count(toypie.enough(count)))
    loading.check()
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
    from counterflow.files import locked
    from counterflow.toybox import judge
    from counterflow.writing import save_bytes_atomically

    setup, works = Setup(loading), chosen_executor(engine, workers, None, address, loading)
    sample = run.Sample(setup, identify(loading), seed, count, steps, works.executor)
    with locked(output), show.progress() as progress:
        findings = run.run(chosen, sample, output, progress)
    written = page.build(findings, sample, output, judge.accuracy()["round_trips"])
    save_bytes_atomically(output / "experiments.html", written.html().encode())
    save_bytes_atomically(output / "experiments.json", page.as_text(findings, sample).encode())
    errors = dict.fromkeys(error for each in findings for error in each.errors)
    if json:
        show.as_json(page.as_dict(findings, sample) | {"page": str(output / "experiments.html")})
    else:
        _print_findings(findings, list(errors), output)
    if errors:
        raise typer.Exit(show.UNFINISHED)


def _print_findings(findings: list[Finding], errors: list[str], output: Path) -> None:
    for each in findings:
        if (verdict := each.section.verdict) is not None:
            said = f"{verdict.word}. {verdict.claim}\n  {verdict.sentence}"
            show.line(f"{each.experiment.name}: {said}")
    for error in errors[:5]:
        show.line(f"failed, and left out: {error}")
    show.line(f"\n{output / 'experiments.html'}")


def _conditions(*chosen: Any) -> list[Condition]:
    """What `variants` chose, as conditions of a run."""
    from counterflow.bench.engine import Condition

    return [Condition(each.name, each.title, each.method) for each in variants(*chosen)]


def _draw_sheet(
    path: Path, folder: Path, bench: Bench, conditions: list[Condition], cases: list[Case]
) -> None:
    from counterflow.bench.report.sheet import draw_sheet
    from counterflow.images import save_png

    by_name = {method.name: method for method in bench.methods}
    methods = [by_name[each.name] for each in conditions]
    save_png(draw_sheet(folder, methods, [case.name for case in cases]), path, None)


def _print(summary: dict[str, Any], output: Path) -> None:
    from counterflow.bench.figures import FIGURES, label

    averages = [(name, FIGURES[name].average) for name in SHOWN]
    rows = []
    for name, method in summary["methods"].items():
        for kind, group in [*method["categories"].items(), ("all", method["all"])]:
            figures = [group["figures"][figure][average] for figure, average in averages]
            rows.append([name, kind or "none", group["cases"], *figures])
    show.table(["method", "kind", "cases", *map(label, SHOWN)], rows)
    errors = sum(method["all"]["errors"] for method in summary["methods"].values())
    if errors:
        show.line(f"\nfailed, and tried again by another run: {errors}; {summary['first error']}")
    if summary["judge"]:
        show.line(f"\n{show.judged(summary['judge'])}")
    for note in summary["notes"]:
        show.line(note)
    show.line(f"\n{output}: counterflow report {output} draws the page")
