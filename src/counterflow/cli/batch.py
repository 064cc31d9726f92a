"""`batch` and what is asked of a batch's folder: `status`, `verify`, `retry`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.named import NamedLora, NamedModel, NamedWeights, named
from counterflow.cli.options import TOYBOX, Json, MethodName, Seed, Set, opens_a_model, settings
from counterflow.cli.ranks import finishes_last
from counterflow.cli.workers import Address, EngineName, Workers, chosen
from counterflow.errors import CounterflowError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from counterflow.batch.items import Item, Rank

FIRST = 1000
"""Items of which the settings are checked before a model loads."""
Folder = Annotated[Path, typer.Argument(help="The folder that `batch` wrote.")]
Named = Annotated[
    str | None, typer.Option("--store", help="The URL of the results, if they are under one.")
]


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
    works = chosen(engine, workers, threads, address, loading, rank)
    recipe = Recipe(how, loading, seed, exact_background, check, works.threads)
    recipe = recipe.resolved(elsewhere=address is not None)
    items = list(itertools.islice(_read(manifest, source, target, root, output), limit))
    for item in items[:FIRST]:
        recipe.check_item(item)
    with show.progress(logged=True) as progress:
        batches.run(output, items, recipe, works.executor, rank, progress, url=store)
    _tell(output, json, rank)


def _read(
    manifest: Path,
    source: str | None,
    targets: list[str] | None,
    root: Path | None,
    output: Path,
) -> Iterator[Item]:
    from counterflow.batch import manifest as manifests
    from counterflow.bench.sets import pie

    if manifest.is_dir() and root is not None:
        raise InputError("--root is of the paths in a manifest: leave it out for a folder")
    if manifest.is_dir() and (manifest / pie.MAPPING).is_file():
        if source or targets:
            raise InputError(
                f"{manifest} is a PIE-Bench folder, which has its own sentences: leave out "
                "--source and --target"
            )
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
def verify(folder: Folder, store: Named = None, json: Json = False) -> None:
    """Compare every published file with what was noted of it; the next run makes it again."""
    from counterflow.batch.verify import verify as compare

    wrong = compare(folder, store)
    if json:
        show.as_json(wrong)
    for how, names in wrong.items():
        for name in names[: 0 if json else 20]:
            show.line(f"{how}: {name}")
    bad, unknown = len(wrong["gone"]) + len(wrong["altered"]), len(wrong["unknown"])
    said = [f"{bad} results are gone or altered: run `batch` or `batch retry`"] * bool(bad)
    said += [f"{unknown} files are no results of any manifest: move them away"] * bool(unknown)
    if said:
        raise Unfinished("; ".join(said))
    if not json:
        show.line("every published file is as it was noted")


@app.command()
def retry(
    folder: Folder,
    model: NamedModel = None,
    weights: NamedWeights = None,
    lora: NamedLora = None,
    store: Named = None,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Try again what failed, and make what is missing, of pictures that are as they were."""
    from counterflow.batch import run as batches
    from counterflow.batch.items import Rank

    recipe, rank = batches.read_recipe(folder), Rank.of_environment()
    loading = named(recipe.loading, folder, model, weights, lora)
    works = chosen(engine, workers, recipe.threads, address, loading, rank)
    with show.progress(logged=True) as progress:
        batches.retry(folder, works.executor, rank, progress, loading=loading, url=store)
    _tell(folder, json, rank)


def _tell(folder: Path, json: bool, rank: Rank | None = None) -> None:
    """Print how far a batch has come, or a rank's share; Unfinished if something has failed.

    Of several ranks each prints its share, and the last one to finish speaks for all.
    """
    from counterflow.batch.index import every, newest
    from counterflow.batch.report import summary

    last = rank is None or finishes_last(rank)
    rows, total = every(folder), newest(folder).total
    whole = told = summary(rows, total)
    if last is None:
        last = not told["waiting"]
    page, why = _page(folder, rows, total, alone=rank is None) if last else (None, "")
    if rank is not None:
        told = summary([row for row in rows if rank.has(Path(row["image"]))])
    if json:
        share = {} if rank is None else {"rank": rank.index, "ranks": rank.of}
        show.as_json(share | told | {"page": None if page is None else str(page)})
    else:
        _print(told, why or str(page or ""), rank)
    if last and whole["failed"]:
        raise Unfinished(
            f"{whole['failed']} of {whole['items']} failed; "
            f"`counterflow batch retry {folder}` tries them again"
        )


def _page(
    folder: Path, rows: list[dict[str, Any]], total: int, alone: bool
) -> tuple[Path | None, str]:
    """Write the page: its path, or why it cannot be: figures can be told where nothing is written.

    Where all of several ranks are through, what killed ones left unfinished goes, too.
    """
    from counterflow.batch import publish
    from counterflow.batch.report import write_page

    try:
        page = write_page(folder, rows, total)
    except InputError as error:
        return None, str(error)
    if not alone:
        publish.Folder(folder).clear()
    return page, ""


def _print(told: dict[str, Any], page: str, rank: Rank | None) -> None:
    who = "" if rank is None else f"rank {rank.index} of {rank.of}: "
    show.line(f"{who}{told['done']} of {told['items']} done, {told['waiting']} waiting")
    for reason, count in told["reasons"].items():
        show.line(f"  {count} failed: {reason}")
    if told["seconds"]:
        show.line(
            f"{told['forwards']:.0f} forwards and {told['seconds']:.2f} s for each, "
            f"{told['bytes'] / 1e3:.0f} kB"
        )
    if told["doubtful"]:
        show.line(f"{told['doubtful']} are likely not to have worked: they come first on the page")
    if page:
        show.line(page)
