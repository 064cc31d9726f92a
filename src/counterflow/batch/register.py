"""A manifest's lines in the index: what each one's files hold, what is published, what waits."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from counterflow.batch.index import Index, every, newest
from counterflow.batch.items import Item, Rank, Recipe, spelled
from counterflow.batch.publish import Store, digest
from counterflow.batch.rows import Manifest
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
    again: Manifest | None = None,
) -> None:
    """Bring the index up to date with a manifest, and with what is published already.

    What the folder's other indexes know is known here, too. `again`: the items are those of that
    manifest, as the folder has them; what is not done of them stays as it was recorded. Raises
    InputError for pictures that have changed since results were made of them.
    """
    store.check()
    rows = [item.row for item in items]
    mine = [n for n, item in enumerate(items) if rank is None or rank.has(item.image)]
    folder, share = index.path.parent, {rows[n] for n in mine}
    known = {row["row"]: row for row in every(folder, wanted=False, only=share)}
    own = {row["row"]: _told(row) for row in index.rows()}
    names = set(map(spelled, store.names()))
    news: list[dict[str, Any]] = []
    changed: list[str] = []
    for count, n in enumerate(mine, 1):
        before, entry = known.get(rows[n]), _entry(index, items[n], recipe, n)
        if progress is not None:
            progress("reading pictures", count, len(mine))
        if before is not None and before["state"] == "done":
            changed += _changed(before, entry, folder)
        elif before is not None and again is not None:
            entry = before
        now = _now(before, entry, store, names)
        if now is not before or own.get(rows[n]) != _told(before):
            news.append(now)
    if changed:
        first = ", ".join(list(dict.fromkeys(changed))[:5])
        raise InputError(
            f"{len(set(changed))} of the pictures have changed or are gone since this batch "
            f"began: {first}; put them back, or name another folder"
        )
    index.add(news)
    index.want(share, again or newest(folder).then(rows))


def _told(row: Any) -> tuple[str, int]:
    """What must be equal in two indexes that know as much of an item."""
    return row["state"], row["attempts"]


def _changed(before: dict[str, Any], entry: dict[str, Any], folder: Path) -> list[str]:
    """The paths of an item's pictures that have changed since its result was made.

    Raises InputError where nothing has, and the result was made otherwise all the same.
    """
    files = ("picture", "image"), ("mask_picture", "mask")
    if before["id"] != entry["id"] and all(before[each] == entry[each] for each, _ in files):
        raise InputError(f"{folder} holds results of other settings: name another folder")
    return [entry[path] for each, path in files if before[each] not in (None, entry[each])]


def _now(
    before: dict[str, Any] | None, entry: dict[str, Any], store: Store, names: Container[str]
) -> dict[str, Any]:
    """An item's line, by what was known of it before and by what is published."""
    if before is None:
        return _adopted(entry, store, names)
    entry = entry | {"attempts": before["attempts"]}
    if before["state"] == "done" and before["file"] not in names:
        return entry | {"attempts": before["attempts"] + 1}
    if before["state"] == "waiting" or before["id"] != entry["id"]:
        return _adopted(entry, store, names)
    return before


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


def _adopted(entry: dict[str, Any], store: Store, names: Container[str]) -> dict[str, Any]:
    """An entry with what is published of it: its run was killed before it could tell."""
    if entry["file"] not in names:
        return entry
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


def waiting(index: Index) -> list[Task]:
    """What is to be done, by the inversions that it needs; equal items once."""
    rows: dict[str, Any] = {}
    for row in index.rows("state='waiting' AND wanted"):
        rows.setdefault(row["id"], row)
    groups: dict[tuple[str, str], list[Entry]] = {}
    for identity, row in rows.items():
        item = Item.of_row(row)
        entry = Entry(identity, item, row["file"], row["picture"], row["mask_picture"])
        groups.setdefault((row["picture"] or row["image"], row["source"]), []).append(entry)
    return [
        Task(tuple(group[start : start + PART]))
        for group in groups.values()
        for start in range(0, len(group), PART)
    ]
