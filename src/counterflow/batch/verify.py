"""Published files are compared with what was noted of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from counterflow.batch.index import Index, every
from counterflow.batch.publish import digest
from counterflow.batch.run import read_store, usable
from counterflow.files import locked


def verify(folder: Path) -> dict[str, list[str]]:
    """Compare every published file with its digest; those that are gone or altered wait again.

    An altered file is moved to `altered/`. Returns the names of the `gone` and the `altered`.
    """
    store = read_store(folder)
    wrong: dict[str, list[str]] = {"gone": [], "altered": []}
    rows = [row for row in every(folder) if row["state"] == "done"]
    with locked(folder):
        for row in rows:
            name = row["file"]
            if not store.has(name):
                wrong["gone"].append(name)
                continue
            with store.opened(name) as path:
                same = digest(path) == row["digest"]
            if not same:
                wrong["altered"].append(name)
                store.withdraw(name)
        bad = {*wrong["gone"], *wrong["altered"]}
        for path in sorted(folder.glob("index*.sqlite")):
            index = Index(folder, _rank_of(path))
            with usable(folder), contextlib.closing(index):
                for name in bad:
                    index.again("file=?", name)
    return wrong


def _rank_of(path: Path) -> int | None:
    number = path.stem.partition("-")[2]
    return int(number) if number else None
