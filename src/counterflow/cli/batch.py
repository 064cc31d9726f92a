"""`batch` and what is asked of a batch's folder: `status`, `verify`, `retry`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.options import TOYBOX, Json, MethodName, Seed, Set, opens_a_model, settings
from counterflow.cli.workers import Address, EngineName, Workers, chosen
from counterflow.errors import CounterflowError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from counterflow.batch.items import Item

FIRST = 1000
"""Items of which the settings are checked before a model loads."""
Folder = Annotated[Path, typer.Argument(help="The folder that `batch` wrote.")]


class Runs(TyperGroup):
    """A group that takes a manifest in a command's place: `batch FILE` is `batch run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those of `run` where no command is named."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Runs,
    help="Edit all that a manifest names. `batch MANIFEST -o DIR` is short for `batch run`.",
)


class Unfinished(CounterflowError):
    """Some of the work has failed, or published files are gone or altered."""

    exit_code = show.UNFINISHED


def register(root: typer.Typer) -> None:
    """Add this file's commands."""
    root.add_typer(app, name="batch")


@app.command()
@opens_a_model
def run(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="JSONL, CSV or Parquet with image, source, target; a folder of pictures; or one "
            "in PIE-Bench's format."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    source: Annotated[
        str | None, typer.Option(help="For a folder of pictures: the sentence for all of them.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="For a folder of pictures: what they become; may be repeated."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the paths in it; default the manifest's own.")
    ] = None,
    method: MethodName = None,
    change: Set = None,
    exact_background: Annotated[
        bool, typer.Option(help="Keep the picture's own pixels outside a mask.")
    ] = False,
    check: Annotated[
        bool, typer.Option(help="Say of each result how far it is to be trusted.")
    ] = True,
    store: Annotated[
        str | None,
        typer.Option(help="Publish under a URL that fsspec knows, as s3://bucket/folder."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Most lines that are taken.")] = None,
    loading: Loading = TOYBOX,
    seed: Seed = 0,
    engine: EngineName = None,
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a worker on a CPU; default a fair share.")
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Edit all that a manifest names; the same command continues, and takes what was added.

    Every result is published once. What failed is listed with the reason.
    """
    from counterflow.batch import run as batches
    from counterflow.batch.items import Rank, Recipe
    from counterflow.methods import registry

    texts = settings(change)
    how = registry.method(method or registry.DEFAULT)
    how = how.but(**how.parse(texts))
    if limit is not None and limit < 1:
        raise InputError(f"--limit is 1 or more, not {limit}")
    rank = Rank.of_environment()
    if rank is not None:
        engine, workers = "inline", 1
    works = chosen(engine, workers, threads, address, loading)
    recipe = Recipe(how, loading, seed, exact_background, check, works.threads)
    recipe = recipe.resolved(elsewhere=address is not None)
    items = list(itertools.islice(_read(manifest, source, target, root, output), limit))
    for item in items[:FIRST]:
        recipe.check_item(item)
    with show.progress(logged=True) as progress:
        batches.run(output, items, recipe, works.executor, rank, progress, url=store)
    if rank is None:  # one of several says nothing, as it knows its own share alone
        _tell(output, json)


def _read(
    manifest: Path,
    source: str | None,
    targets: list[str] | None,
    root: Path | None,
    output: Path,
) -> Iterator[Item]:
    from counterflow.batch import manifest as manifests
    from counterflow.bench.sets import pie

    if manifest.is_dir() and (manifest / pie.MAPPING).is_file():
        yield from _pie(manifest)
    elif manifest.is_dir():
        if not source or not targets:
            raise InputError(f"{manifest} is a folder of pictures: give --source and --target")
        yield from manifests.folder(manifest, source, targets, output)
    elif source or targets:
        raise InputError("--source and --target are for a folder of pictures: a manifest has them")
    else:
        yield from manifests.read(manifest, root)


def _pie(folder: Path) -> Iterator[Item]:
    """The items of a PIE-Bench folder; its masks are for measuring, not for editing."""
    from counterflow.batch.items import Item
    from counterflow.bench.sets import pie

    for case in pie.read(folder, "corrected"):
        yield Item(case.image, case.source, case.target, None, case.id)


@app.command()
def status(folder: Folder, json: Json = False) -> None:
    """How far a batch has come, and what failed; a running one can be asked too."""
    _tell(folder, json)


@app.command()
def verify(folder: Folder, json: Json = False) -> None:
    """Compare every published file with what was noted of it; the next run makes it again."""
    from counterflow.batch.verify import verify as compare

    wrong = compare(folder)
    if json:
        show.as_json(wrong)
    for how, names in wrong.items():
        for name in names[: 0 if json else 20]:
            show.line(f"{how}: {name}")
    count = sum(map(len, wrong.values()))
    if count:
        raise Unfinished(f"{count} results are gone or altered; run `batch` or `batch retry`")
    if not json:
        show.line("every published file is as it was noted")


@app.command()
def retry(
    folder: Folder,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Try again what failed, and make what is missing."""
    from counterflow.batch import run as batches

    recipe = batches.read_recipe(folder)
    works = chosen(engine, workers, recipe.threads, address, recipe.loading)
    with show.progress(logged=True) as progress:
        batches.retry(folder, works.executor, progress)
    _tell(folder, json)


def _tell(folder: Path, json: bool) -> None:
    """Print how far a batch has come; Unfinished if something has failed."""
    from counterflow.batch.index import every
    from counterflow.batch.report import summary, write_page
    from counterflow.batch.run import read_facts

    read_facts(folder)
    rows = every(folder)
    told = summary(rows)
    page, why = None, ""
    try:
        page = write_page(folder, rows)
    except InputError as error:  # the figures can be told where nothing can be written
        why = str(error)
    if json:
        show.as_json(told | {"page": None if page is None else str(page)})
    else:
        _print(told, why or str(page))
    if told["failed"]:
        raise Unfinished(
            f"{told['failed']} of {told['items']} failed; `counterflow batch retry {folder}` "
            "tries them again"
        )


def _print(told: dict[str, Any], page: str) -> None:
    show.line(f"{told['done']} of {told['items']} done, {told['waiting']} waiting")
    for reason, count in told["reasons"].items():
        show.line(f"  {count} failed: {reason}")
    if told["seconds"]:
        show.line(
            f"{told['forwards']:.0f} forwards and {told['seconds']:.2f} s for each, "
            f"{told['bytes'] / 1e3:.0f} kB"
        )
    if told["doubtful"]:
        show.line(f"{told['doubtful']} are likely not to have worked: they come first on the page")
    show.line(page)
