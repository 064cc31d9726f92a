"""Published files are compared with what was noted of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from counterflow.batch.index import Index, every, indexes
from counterflow.batch.items import spelled
from counterflow.batch.publish import Store, digest
from counterflow.batch.run import read_store, usable
from counterflow.errors import InputError, why
from counterflow.files import locked


def verify(folder: Path, url: str | None = None) -> dict[str, list[str]]:
    """Compare every published file with its digest; those that are gone or altered wait again.

    An altered file is moved to `altered/`. Returns the names of the `gone`, of the `altered`, and
    of the `unknown`, which belong to no line of any manifest. `url` is the store's, if there is
    one. Raises InputError for a file that cannot be read or moved.
    """
    store = read_store(folder, url)
    wrong: dict[str, list[str]] = {"gone": [], "altered": []}
    with locked(folder), usable(folder):
        known = every(folder, wanted=False)
        wrong["unknown"] = sorted(set(map(spelled, store.names())) - {row["file"] for row in known})
        rows = {row["id"]: row for row in known if row["state"] == "done"}
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
    name = row["file"]
    try:
        if not store.has(name):
            return "gone"
        with store.opened(name) as path:
            if path.is_file() and digest(path) == row["digest"]:
                return None
        store.withdraw(name)
    except OSError as error:
        raise InputError(f"{name} cannot be read or moved ({why(error)}): move it away") from None
    return "altered"
