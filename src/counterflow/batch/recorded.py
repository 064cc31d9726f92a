"""What a batch's folder says of how it is made: its recipe, and where it publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from counterflow.batch.index import any_done, indexes
from counterflow.batch.items import Recipe
from counterflow.batch.publish import ALTERED, PICTURES, Folder, Store, store_of
from counterflow.errors import InputError
from counterflow.outside import read_dict
from counterflow.writing import save_bytes_atomically

RECIPE = "batch.json"
PAGE = "results.html"
SAVING = ("offload", "free_text")
"""How a model is opened, as far as it saves memory and decides nothing."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a batch.

    A batch's folder is known by its recipe or its index; beside an index alone there may be what
    is written with it.
    """
    if not folder.is_dir() or (folder / RECIPE).exists():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    ours = {each for each in names if re.fullmatch(r"index(-\d+)?\.sqlite(-journal)?", each)}
    others = names - ours - ({PICTURES, ALTERED, PAGE} if indexes(folder) else set())
    if others:
        raise InputError(f"{folder} is not an empty folder, nor one of a batch: name another")


def agree(folder: Path, recipe: Recipe, url: str | None, store: Store, alone: bool) -> None:
    """Write the recipe of a folder that has none, or compare it with the one there is.

    `alone`, without other ranks beside, one is written over that nothing was made by. Raises
    InputError, showing the difference, for another one.
    """
    path, wanted = folder / RECIPE, json.loads(json.dumps(recipe.record() | {"store": url}))
    wanted |= {name: getattr(recipe.loading, name) for name in SAVING}
    over = alone and not _made(folder, url, store)
    if over or not path.exists():
        save_bytes_atomically(path, f"{json.dumps(wanted, indent=1)}\n".encode(), over)
    flat = [each | each.get("settings", {}) for each in (read_facts(folder), wanted)]
    differ = [
        f"{name} {flat[0].get(name)!r}, not {flat[1].get(name)!r}"
        for name in dict.fromkeys([*flat[1], *flat[0]])
        if name not in ("settings", *SAVING) and flat[0].get(name) != flat[1].get(name)
    ]
    if differ:
        raise InputError(f"{folder} is a batch with {'; '.join(differ)}: name another folder")


def _made(folder: Path, url: str | None, store: Store) -> bool:
    """Whether there are results, or may be under a recorded URL that nobody has named."""
    if any_done(folder) or store.names() or Folder(folder).names():
        return True
    try:
        return read_facts(folder).get("store") not in (url, None)
    except InputError:
        return False  # there is no recipe, or a damaged one


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a batch's folder; InputError where there is none, or a damaged one."""
    facts = read_facts(folder)
    try:
        return Recipe.from_record(facts)
    except InputError as error:
        raise InputError(f"{folder / RECIPE} is damaged ({error}): name another folder") from None


def read_store(folder: Path, url: str | None = None) -> Store:
    """Where a batch publishes: in its folder, or under a URL that the user must name, too.

    Raises InputError for another URL, and for a folder that is none of a batch.
    """
    recorded = read_facts(folder).get("store")
    if recorded != url:
        named = f"--store {recorded}" if recorded else "no --store"
        raise InputError(f"{folder} was made with {named}: give that, if you know it")
    return store_of(folder, url)


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
