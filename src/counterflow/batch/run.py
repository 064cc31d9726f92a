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
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from counterflow import __version__
from counterflow.batch.executors.base import Executor, Finished, Maker
from counterflow.batch.index import Index, Receipt, every
from counterflow.batch.items import Item, Rank, Recipe
from counterflow.batch.publish import PICTURES, Folder, Store, Unwritable, store_of
from counterflow.batch.register import item_of, register, waiting
from counterflow.batch.work import Edits, Task, found
from counterflow.errors import InputError
from counterflow.files import locked
from counterflow.outside import read_dict
from counterflow.progress import Progress
from counterflow.writing import save_bytes_atomically

RECIPE = "batch.json"


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
        agree(folder, recipe, url, fresh=not any(index.rows("state='done'")))
        store = store_of(folder, url)
        register(index, store, items, recipe, rank, progress)
        index.again("state='failed' AND lost")
        work(index, store, executor, make or Edits(recipe, store), progress)


def retry(
    folder: Path,
    executor: Executor,
    progress: Progress | None = None,
    make: Maker[Task, list[Receipt]] | None = None,
) -> int:
    """Try again what failed or is waiting; how many failed ones. Raises as `run` does."""
    recipe, store = read_recipe(folder), read_store(folder)
    made_by = read_facts(folder).get("counterflow")
    if made_by != __version__:
        raise InputError(f"{folder} was made by version {made_by}, this is {__version__}")
    with opened(folder) as index:
        rows = every(folder)
        keep = [key for key in rows[0] if key != "lost"] if rows else []
        index.add({key: row[key] for key in keep} for row in rows)
        register(index, store, [item_of(row) for row in rows], recipe, None, progress)
        failed = index.again("state='failed'")
        work(index, store, executor, make or Edits(recipe, store), progress)
    return failed


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a batch."""
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        others = [n for n in names if not n.startswith((".", "index")) and n != PICTURES]
        if others and RECIPE not in names and not (folder / RECIPE).exists():
            raise InputError(f"{folder} is not an empty folder, nor one of a batch: name another")


def agree(folder: Path, recipe: Recipe, url: str | None, fresh: bool) -> None:
    """Write the recipe of a folder that is new or `fresh`, or compare it with the one there is."""
    path, wanted = folder / RECIPE, json.loads(json.dumps(recipe.record() | {"store": url}))
    wanted["offload"] = recipe.loading.offload  # it saves memory, and decides nothing
    if fresh or not path.exists():
        save_bytes_atomically(path, f"{json.dumps(wanted, indent=1)}\n".encode())
        return
    flat = [each | each.get("settings", {}) for each in (read_facts(folder), wanted)]
    differ = [
        f"{name} {flat[0].get(name)!r}, not {flat[1].get(name)!r}"
        for name in dict.fromkeys([*flat[1], *flat[0]])
        if name not in ("settings", "offload") and flat[0].get(name) != flat[1].get(name)
    ]
    if differ:
        raise InputError(f"{folder} is a batch with {'; '.join(differ)}: name another folder")


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a batch's folder; InputError where there is none, or a damaged one."""
    facts = read_facts(folder)
    try:
        return Recipe.from_record(facts)
    except InputError as error:
        raise InputError(f"{folder / RECIPE} is damaged ({error}): name another folder") from None


def read_store(folder: Path) -> Store:
    """Where a batch publishes. InputError for a folder that is none of a batch."""
    url = read_facts(folder).get("store")
    return store_of(folder, url if isinstance(url, str) else None)


def read_facts(folder: Path) -> dict[str, Any]:
    """The recipe as it was recorded. InputError for a folder that is none of a batch."""
    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"{folder} holds no batch; give a folder that `counterflow batch` wrote")
    try:
        data = read_dict(path)
    except InputError as error:
        raise InputError(f"{path} is damaged ({error}): name another folder") from None
    if not isinstance(data.get("settings"), dict):
        raise InputError(f"{path} is damaged: name another folder")
    return data


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
