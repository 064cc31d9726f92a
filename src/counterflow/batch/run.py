"""A batch: what a manifest asks for, once each, in a folder that says how far it has come.

    DIR/batch.json       the recipe: method, settings, model
    DIR/index.sqlite     the states of the items; made again from the rest where it is lost
    DIR/pictures/        the results
    DIR/altered/         results that `verify` found changed

Several ranks, as `torchrun` starts them, share a folder: each has its share of the pictures, an
index of its own, and the folder's lock with the others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from counterflow import __version__
from counterflow.backbones.loading import Loading
from counterflow.batch.executors.base import Executor, Finished, Maker
from counterflow.batch.index import Index, Receipt, every, newest
from counterflow.batch.items import Item, Rank, Recipe
from counterflow.batch.publish import Folder, Store, Unwritable, store_of
from counterflow.batch.recorded import (
    RECIPE,
    agree,
    check_folder,
    read_facts,
    read_recipe,
    read_store,
)
from counterflow.batch.register import register, waiting
from counterflow.batch.work import Edits, Task, found
from counterflow.errors import InputError
from counterflow.files import locked
from counterflow.progress import Progress

__all__ = ["RECIPE", "opened", "read_facts", "read_recipe", "read_store", "retry", "run", "usable"]


@contextmanager
def opened(folder: Path, rank: Rank | None = None) -> Iterator[Index]:
    """A folder's index, with the folder's lock."""
    with locked(folder, shared=rank is not None), contextlib.ExitStack() as stack:
        if rank is None:
            Folder(folder).clear()
        else:
            place = folder / f".rank-{rank.index}"
            stack.enter_context(locked(place))
        with usable(folder):
            index = Index(folder, None if rank is None else rank.index)
            with contextlib.closing(index):
                yield index


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Say of which folder the index is that SQLite has trouble with."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(
            f"{folder}: its index cannot be written ({error}): make room and run this again; what "
            "is published is kept"
        ) from None


def run(
    folder: Path,
    items: Sequence[Item],
    recipe: Recipe,
    executor: Executor,
    rank: Rank | None = None,
    progress: Progress | None = None,
    make: Maker[Task, list[Receipt]] | None = None,
    url: str | None = None,
) -> None:
    """Make what is missing of the items' results.

    `recipe` is a resolved one. Results are published in the folder, or under a URL that fsspec
    knows. `make` takes the editors' place in tests. Raises InputError, showing
    the difference, if the folder is of another recipe or a source picture has changed since.
    """
    check_folder(folder)
    with opened(folder, rank) as index:
        store = store_of(folder, url)
        agree(folder, recipe, url, store, alone=rank is None)
        register(index, store, items, recipe, rank, progress)
        index.again("state='failed' AND lost")
        work(index, store, executor, make or Edits(recipe, store), progress)


def retry(
    folder: Path,
    executor: Executor,
    rank: Rank | None = None,
    progress: Progress | None = None,
    make: Maker[Task, list[Receipt]] | None = None,
    loading: Loading | None = None,
    url: str | None = None,
) -> int:
    """Try again what failed or is waiting; how many failed ones. Raises as `run` does.

    The folder may be a stranger's: what it says of the model is opened unless `loading` says where
    that is, its own pictures are taken alone where they are what they were, and results go under a
    URL only if it is given.
    """
    recipe, store = read_recipe(folder), read_store(folder, url)
    made_by = read_facts(folder).get("counterflow")
    if made_by != __version__:
        raise InputError(f"{folder} was made by version {made_by}, this is {__version__}")
    opens = recipe if loading is None else replace(recipe, loading=loading)
    with opened(folder, rank) as index:
        items = [Item.of_row(row) for row in every(folder)]
        register(index, store, items, recipe, rank, progress, again=newest(folder))
        failed = index.again("state='failed'")
        work(index, store, executor, make or Edits(opens, store), progress)
    return failed


def work(
    index: Index,
    store: Store,
    executor: Executor,
    make: Maker[Task, list[Receipt]],
    progress: Progress | None,
) -> None:
    """Have everything that waits worked on, and note every receipt.

    Where workers died of a task of several items, each of those is tried alone. Raises Unwritable
    where no result can be written any more.
    """
    tasks = waiting(index)
    total = sum(len(task.entries) for task in tasks)
    done = 0
    while tasks:
        single: list[Task] = []
        with contextlib.closing(executor.run(make, tasks)) as stream:
            for finished in stream:
                if finished.died and len(finished.task.entries) > 1:
                    single += [Task((entry,)) for entry in finished.task.entries]
                    continue
                for receipt in receipts(finished, store):
                    index.record(receipt)
                    if receipt.stop:
                        raise Unwritable(str(receipt.error))
                done += len(finished.task.entries)
                if progress is not None:
                    progress("edits", done, total)
        tasks = single


def receipts(finished: Finished[Task, list[Receipt]], store: Store) -> list[Receipt]:
    """What became of a task's items, those too whose worker could not tell."""
    if finished.result is not None:
        return finished.result
    return [
        found(store, entry.name, entry.id)
        if store.has(entry.name)
        else Receipt(entry.id, "failed", finished.error, finished.died)
        for entry in finished.task.entries
    ]
