"""A manifest's lines in the index: what each one's files hold, what is published, what waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from counterflow.batch.index import Index
from counterflow.batch.items import Item, Rank, Recipe
from counterflow.batch.items import digest as digest_of
from counterflow.batch.publish import Store, digest
from counterflow.batch.work import Entry, Task, found
from counterflow.errors import InputError
from counterflow.progress import Progress

PART = 64
"""Most edits of a task."""


def register(
    index: Index,
    store: Store,
    items: Sequence[Item],
    recipe: Recipe,
    rank: Rank | None,
    progress: Progress | None = None,
) -> None:
    """Bring the index up to date with a manifest, and with what is published already.

    Raises InputError for pictures that have changed since results were made of them.
    """
    store.check()
    known = {row["row"]: row for row in index.rows()}
    wanted, fresh, changed = [], [], []
    for place, item in enumerate(items):
        if rank is not None and not rank.has(digest_of(str(item.image))):
            continue
        before, entry = known.get(item.row), _entry(index, item, recipe, place)
        wanted.append(item.row)
        if progress is not None:
            progress("reading pictures", place + 1, len(items))
        if before is not None and before["state"] == "done":
            for name, path in (("picture", item.image), ("mask_picture", item.mask)):
                if before[name] not in (None, entry[name]):
                    changed.append(str(path))
        if before is None or before["state"] == "waiting" or before["id"] != entry["id"]:
            fresh.append(entry)
    if changed:
        names = ", ".join(list(dict.fromkeys(changed))[:5])
        raise InputError(
            f"{len(set(changed))} of the pictures have changed or are gone since this batch "
            f"began: {names}; put them back, or name another folder"
        )
    there = store.names() if fresh else set()
    index.add(_adopted(entry, store) if entry["file"] in there else entry for entry in fresh)
    index.want(wanted)


def _entry(index: Index, item: Item, recipe: Recipe, place: int) -> dict[str, Any]:
    """A line of the index; one whose files cannot be read has no digest and is tried anyway."""
    picture = _digest(index, item.image)
    mask = None if item.mask is None else _digest(index, item.mask)
    unread = mask or (None if item.mask is None else f"unread {item.mask}")
    identity = recipe.identity(item, picture or f"unread {item.image}", unread)
    return {
        "row": item.row,
        "place": place,
        "name": item.name,
        "image": str(item.image),
        "source": item.source,
        "target": item.target,
        "mask": None if item.mask is None else str(item.mask),
        "picture": picture,
        "mask_picture": mask,
        "id": identity,
        "file": item.file(identity),
        "state": "waiting",
        "error": None,
    }


def _adopted(entry: dict[str, Any], store: Store) -> dict[str, Any]:
    """An entry with what is published of it already: its run was killed before it could tell."""
    try:
        told = found(store, entry["file"], entry["id"])
    except InputError as error:  # somebody put it there
        return entry | {"state": "failed", "error": str(error)}
    facts = ("state", "digest", "bytes", "trust", "sentence")
    return entry | {name: getattr(told, name) for name in facts}


def _digest(index: Index, path: Path) -> str | None:
    try:
        status = path.stat()
        state = f"{status.st_size} {status.st_mtime_ns}"
        known = index.digest_of(str(path), state)
        if known is None:
            if not path.is_file():
                return None
            known = digest(path)
            index.remember(str(path), state, known)
    except (OSError, ValueError):
        return None
    return known


def item_of(row: Any) -> Item:
    """The item of a line of the index."""
    mask = None if row["mask"] is None else Path(row["mask"])
    return Item(Path(row["image"]), row["source"], row["target"], mask, row["name"])


def waiting(index: Index) -> list[Task]:
    """What is to be done, by the inversions that it needs; equal items once."""
    rows: dict[str, Any] = {}
    for row in index.rows("state='waiting' AND wanted"):
        rows.setdefault(row["id"], row)
    groups: dict[tuple[str, str], list[Entry]] = {}
    for identity, row in rows.items():
        item = item_of(row)
        entry = Entry(identity, item, row["file"], row["picture"], row["mask_picture"])
        groups.setdefault((row["picture"] or row["image"], row["source"]), []).append(entry)
    return [
        Task(tuple(group[start : start + PART]))
        for group in groups.values()
        for start in range(0, len(group), PART)
    ]
