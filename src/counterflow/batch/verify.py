"""Published files are compared with what was noted of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from counterflow.batch.index import Index, every, indexes
from counterflow.batch.publish import Store, digest
from counterflow.batch.run import read_store, usable
from counterflow.files import locked


def verify(folder: Path) -> dict[str, list[str]]:
    """Compare every published file with its digest; those that are gone or altered wait again.

    An altered file is moved to `altered/`. Returns the names of the `gone` and the `altered`.
    """
    store = read_store(folder)
    wrong: dict[str, list[str]] = {"gone": [], "altered": []}
    with locked(folder), usable(folder):
        rows = {row["id"]: row for row in every(folder, wanted=False) if row["state"] == "done"}
        bad = []
        for identity, row in rows.items():
            how = _wrong(store, row)
            if how is not None:
                wrong[how].append(row["file"])
                bad.append(identity)
        for _, rank in indexes(folder):
            with contextlib.closing(Index(folder, rank)) as index:
                index.missing(bad)
    return wrong


def _wrong(store: Store, row: dict[str, Any]) -> str | None:
    """What is wrong with a result: `gone`, `altered` and then moved away, or nothing."""
    if not store.has(row["file"]):
        return "gone"
    with store.opened(row["file"]) as path:
        if digest(path) == row["digest"]:
            return None
    store.withdraw(row["file"])
    return "altered"
