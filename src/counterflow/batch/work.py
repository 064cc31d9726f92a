"""What a worker does: edits of one picture, each published as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.batch.executors.base import Place
from counterflow.batch.index import Receipt
from counterflow.batch.items import Item, Recipe
from counterflow.batch.publish import Store, Unwritable, digest
from counterflow.errors import CounterflowError, InputError, ModelError, one_line
from counterflow.images import read_settings, save_png
from counterflow.outside import Record, Share, check_file

if TYPE_CHECKING:
    from counterflow.edit.editor import Editor, Inversion

PATIENCE = 5
"""Failures of the store in a row, of one kind, that end the run."""


class StoreFailed(CounterflowError):
    """A store that did not take a result; it may do so the next time."""


class _Told(Record):
    """What a result says of how far it is to be trusted."""

    success: Share | None = None
    sentence: str | None = None


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
        """Raise InputError if a file is another one than when the batch began, or was not there."""
        for path, known in ((self.item.image, self.picture), (self.item.mask, self.mask)):
            if path is not None and _digest(path) != known:
                raise InputError(
                    f"{path} is not what it was when this began: run `batch` with its manifest"
                )


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
        begun, this = recipe.model, editor.backbone.identity
        if begun.rpartition("@")[2] != this.rpartition("@")[2]:  # the folder may have moved
            raise ModelError(f"the batch was begun with {begun}, this is {this}")
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
        """The receipts of a task; an edit fails alone, without an inversion all do, and a full disk
        ends the task.

        A result that is there already, as its worker died before it told, is not made again.
        """
        told: list[Receipt] = []
        inversion: Inversion | Receipt | None = None
        for entry in task.entries:
            try:
                with self._stored(entry.name):
                    done = self.store.has(entry.name)
                if done:
                    told.append(found(self.store, entry.name, entry.id))
                    continue
                entry.check()
                first = inversion is None
                inversion = inversion or self._inverted(entry)
                if isinstance(inversion, Receipt):
                    told.append(replace(inversion, id=entry.id))
                else:
                    told.append(self._edit(entry, inversion, first))
            except Unwritable as error:
                return [*told, Receipt(entry.id, "waiting", str(error), stop=True)]
            except Exception as error:
                told.append(_failed(entry, error))
        return told

    def _inverted(self, entry: Entry) -> Inversion | Receipt:
        """The inversion that all entries share, or the failure that they share."""
        recipe, item = self.recipe, entry.item
        try:
            return self.editor.invert(item.image, item.source, recipe.method, seed=recipe.seed)
        except Exception as error:
            return _failed(entry, error)

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


def _failed(entry: Entry, error: Exception) -> Receipt:
    return Receipt(entry.id, "failed", one_line(error), passing(error))


def passing(error: Exception) -> bool:
    """Whether an error may be gone by the next run: no memory, a network that failed."""
    return isinstance(error, MemoryError | OSError | StoreFailed) or "out of memory" in str(error)


def found(store: Store, name: str, identity: str) -> Receipt:
    """The receipt of a result that is published already.

    Raises InputError for a file that is not of this item: somebody put it there.
    """
    try:
        with store.opened(name) as path:
            check_file(path)
            settings = read_settings(path)
            made, size = digest(path), path.stat().st_size
        told = _Told.of(settings.get("trust") or {})
    except Unwritable:
        raise
    except InputError:
        settings = {}
    if settings.get("item") != identity:
        raise InputError(f"{name} is no result of this batch: move it away")
    return Receipt(
        identity,
        "done",
        digest=made,
        bytes=size,
        trust=told.success,
        sentence=told.sentence or None,
    )


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file; None of what cannot be read."""
    try:
        check_file(path)
        return digest(path)
    except (InputError, OSError):
        return None
