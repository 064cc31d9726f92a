"""What a worker does: edits of one picture, each published as soon as it is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from counterflow.batch.executors.base import Place, one_line
from counterflow.batch.index import Receipt
from counterflow.batch.items import Item, Recipe
from counterflow.batch.publish import Store, Unwritable, digest
from counterflow.errors import CounterflowError, InputError, ModelError
from counterflow.images import read_settings, save_png

if TYPE_CHECKING:
    from counterflow.edit.editor import Editor, Inversion

PATIENCE = 5
"""Failures of the store in a row, of one kind, that end the run."""


class StoreFailed(CounterflowError):
    """A store that did not take a result; it may do so the next time."""


@dataclass(frozen=True)
class Entry:
    """An item that is to be made."""

    id: str
    item: Item
    name: str
    """The result's file name."""
    picture: str | None = None
    """SHA-256 of the source picture; None of one that could not be read."""
    mask: str | None = None

    def check(self) -> None:
        """Raise InputError if a file is another one than when the batch began."""
        for path, known in ((self.item.image, self.picture), (self.item.mask, self.mask)):
            if path is not None and known is not None and digest(path) != known:
                raise InputError(f"{path} has changed since this run began")


@dataclass(frozen=True)
class Task:
    """Edits of one picture with one source prompt, which one inversion serves."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Edits:
    """Makes workers that edit by a recipe and publish in a store."""

    recipe: Recipe
    store: Store

    def __call__(self, place: Place) -> EditWorker:
        """Load the model at a place."""
        from counterflow.edit.editor import Editor

        place.settle()
        recipe = self.recipe
        editor = Editor.load(place.loading(recipe.loading))
        if editor.backbone.identity != recipe.model:
            raise ModelError(
                f"the batch was begun with {recipe.model}, this is {editor.backbone.identity}"
            )
        recipe.method.check_model(editor.backbone)
        return EditWorker(recipe, self.store, editor)


@dataclass
class EditWorker:
    """An editor at work; a task's items are published and told one by one."""

    recipe: Recipe
    store: Store
    editor: Editor
    _failures: list[type[Exception]] = field(default_factory=list, init=False)
    """What the store last failed with, one time after the other."""

    def __call__(self, task: Task) -> list[Receipt]:
        """The receipts of a task; what fails fails alone, but a full disk ends the task.

        A result that is there already, as its worker died before it told, is not made again.
        """
        told: list[Receipt] = []
        inversion: Inversion | None = None
        for entry in task.entries:
            try:
                with self._stored(entry.name):
                    done = self.store.has(entry.name)
                if done:
                    told.append(found(self.store, entry.name, entry.id))
                    continue
                entry.check()
                first = inversion is None
                inversion = inversion or self._invert(entry.item)
                told.append(self._edit(entry, inversion, first))
            except Unwritable as error:
                return [*told, Receipt(entry.id, "waiting", str(error), stop=True)]
            except Exception as error:
                told.append(Receipt(entry.id, "failed", one_line(error), passing(error)))
        return told

    @contextmanager
    def _stored(self, name: str) -> Iterator[None]:
        """Bear that the store fails, but not the same way for many results: all would be lost."""
        try:
            yield
        except CounterflowError:
            raise
        except Exception as error:
            why = f"{name} could not be stored ({one_line(error):.200})"
            self._failures = [each for each in self._failures if each is type(error)]
            self._failures.append(type(error))
            if len(self._failures) < PATIENCE:
                raise StoreFailed(why) from error
            raise Unwritable(
                f"{why}, nor could the {PATIENCE - 1} before it: see to the store, then go on"
            ) from error

    def _invert(self, item: Item) -> Inversion:
        return self.editor.invert(
            item.image, item.source, self.recipe.method, seed=self.recipe.seed
        )

    def _edit(self, entry: Entry, inversion: Inversion, first: bool) -> Receipt:
        """One edit, as if it were the picture's only one: it must not depend on those before.

        The first one bears the cost of the inversion.
        """
        from counterflow.images import load_mask
        from counterflow.trust.expecting import Expecting

        recipe, item = self.recipe, entry.item
        mask = None if item.mask is None else load_mask(item.mask, inversion.picture.size)
        inversion.forget()
        edit = self.editor.edit(
            inversion,
            item.target,
            mask=mask,
            exact_background=recipe.exact_background and mask is not None,
            seed=recipe.seed,
        )
        inversion.forget()
        trust = Expecting(self.editor, [item.target], False, recipe.method.name, recipe.check)
        told = trust(inversion, 0)
        record = self._record(entry, told, inversion.size)
        with self._stored(entry.name):
            made, size = self.store.publish(
                entry.name, lambda path: save_png(edit.image, path, record)
            )
            self._failures.clear()
        cost, seconds = (inversion.forwards, inversion.seconds) if first else (0, 0.0)
        return Receipt(
            entry.id,
            "done",
            digest=made,
            bytes=size,
            forwards=cost + edit.forwards + told["forwards"],
            seconds=seconds + edit.seconds,
            trust=told.get("success"),
            sentence=told["sentence"] or None,
        )

    def _record(self, entry: Entry, told: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """What the PNG carries: as of `edit`, so that `replay` can make it again."""
        from counterflow.edit.job import Job, ModelChoice
        from counterflow.edit.plan import Plan

        recipe, item = self.recipe, entry.item
        choice = ModelChoice(recipe.loading, recipe.seed, recipe.model)
        job = Job(
            item.image,
            item.source,
            choice,
            recipe.method.name,
            recipe.method.to_dict(),
            mask=item.mask,
            exact_background=recipe.exact_background and item.mask is not None,
            worked_size=size,
        )
        job.digest()
        plan = Plan([item.target]).record(0)
        mine = {"trust": told, "item": entry.id, "threads": recipe.threads}
        return job.record("edit", self.store.place(entry.name), **plan, **mine)


def passing(error: Exception) -> bool:
    """Whether an error may be gone by the next run: no memory, a network that failed."""
    return isinstance(error, MemoryError | OSError | StoreFailed) or "out of memory" in str(error)


def found(store: Store, name: str, identity: str) -> Receipt:
    """The receipt of a result that is published already.

    Raises InputError for a file that is not of this item: somebody put it there.
    """
    settings: dict[str, Any] = {}
    with store.opened(name) as path:
        with contextlib.suppress(InputError):
            settings = read_settings(path)
        made, size = digest(path), path.stat().st_size
    if settings.get("item") != identity:
        raise InputError(f"{name} is no result of this batch: move it away")
    told = settings.get("trust")
    told = told if isinstance(told, dict) else {}
    return Receipt(
        identity,
        "done",
        digest=made,
        bytes=size,
        trust=told.get("success"),
        sentence=told.get("sentence") or None,
    )
