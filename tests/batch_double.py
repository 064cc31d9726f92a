"""A cheap stand-in for editors in a batch: its pictures are decided by the items alone.

As a program it runs a batch of so many items: python batch_double.py FOLDER COUNT ENGINE [DELAY]
"""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from counterflow.batch import run
from counterflow.batch.executors.base import Executor, Place
from counterflow.batch.executors.inline import Inline
from counterflow.batch.executors.processes import Processes
from counterflow.batch.index import Receipt
from counterflow.batch.items import Item, Recipe
from counterflow.batch.publish import Folder, Store, Unwritable
from counterflow.batch.work import Task, found
from counterflow.errors import NumericsError
from counterflow.images import save_png


@dataclass(frozen=True)
class Doubles:
    """Makes workers that publish a small picture for every item, after a pause.

    A target of "poison" gives NaN, as a broken model would.
    """

    folder: Path
    delay: float = 0.0
    elsewhere: Store | None = None

    def __call__(self, place: Place) -> Any:
        return self.work

    def work(self, task: Task) -> list[Receipt]:
        receipts, store = [], self.elsewhere or Folder(self.folder)
        for entry in task.entries:
            if store.has(entry.name):
                receipts.append(found(store, entry.name, entry.id))
            elif entry.item.target == "poison":
                error = NumericsError("the picture holds NaN or infinite values")
                receipts.append(Receipt(entry.id, "failed", str(error)))
            else:
                time.sleep(self.delay)
                try:
                    made, size = store.publish(entry.name, lambda path, of=entry.id: draw(of, path))
                except Unwritable as error:
                    return [*receipts, Receipt(entry.id, "waiting", str(error), stop=True)]
                receipts.append(Receipt(entry.id, "done", digest=made, bytes=size, forwards=1.0))
        return receipts


def draw(identity: str, path: Path) -> None:
    """A picture of an id."""
    noise = np.frombuffer(hashlib.sha256(identity.encode()).digest() * 6, np.uint8)
    save_png(Image.fromarray(noise.reshape(8, 8, 3)), path, {"item": identity})


def recipe(**settings: Any) -> Recipe:
    """A recipe that needs no model."""
    method: Any = SimpleNamespace(name="double", to_dict=lambda: settings)
    return Recipe(method, model="double@0")


def items(folder: Path, count: int, pictures: int = 8) -> list[Item]:
    """So many items of a few pictures, which are drawn where they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{n}.png" for n in range(pictures)]
    for path in paths:
        if not path.exists():
            draw(path.name, path)
    return [
        Item(paths[n % pictures].absolute(), f"source {n % 400}", f"target {n}")
        for n in range(count)
    ]


def main(folder: str, count: str, engine: str, delay: str = "0") -> None:
    """Run a batch of doubles, or go on with one."""
    home = Path(folder).absolute()
    executor: Executor = Inline() if engine == "inline" else Processes(2)
    if engine == "ray":
        from counterflow.batch.executors.ray import RayData

        executor = RayData(2, 1)
    wanted = items(home.parent / "sources", int(count))
    run.run(home, wanted, recipe(), executor, make=Doubles(home, float(delay)))


if __name__ == "__main__":
    main(*sys.argv[1:])
