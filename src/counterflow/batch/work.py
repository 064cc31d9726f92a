"""What a worker does: edits of one picture, each published as soon as it is there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.batch.executors.base import Place, one_line
from counterflow.batch.index import Receipt
from counterflow.batch.items import Item, Recipe
from counterflow.batch.publish import Store, Unwritable, digest
from counterflow.errors import CounterflowError, InputError
from counterflow.images import read_settings, save_png

if TYPE_CHECKING:
    from counterflow.edit.editor import Editor, Inversion


@dataclass(frozen=True)
class Task:
    """Edits of one picture with one source prompt, which one inversion serves."""

    items: tuple[tuple[str, Item], ...]
    """Each with its id."""


@dataclass(frozen=True)
class Edits:
    """Makes workers that edit by a recipe and publish in a store."""

    recipe: Recipe
    store: Store

    def __call__(self, place: Place) -> EditWorker:
        """Load the model at a place."""
        import torch

        from counterflow.edit.editor import Editor

        place.settle()
        loading = self.recipe.loading
        if loading.device == "cuda" and torch.cuda.device_count() > 1:
            device = f"cuda:{place.index % torch.cuda.device_count()}"
            loading = replace(loading, device=device)
        editor = Editor.load(loading)
        self.recipe.method.check_model(editor.backbone)
        return EditWorker(self.recipe, self.store, editor)


@dataclass
class EditWorker:
    """An editor at work; a task's items are published and told one by one."""

    recipe: Recipe
    store: Store
    editor: Editor

    def __call__(self, task: Task) -> list[Receipt]:
        """The receipts of a task; what fails fails alone, but a full disk ends the task.

        A result that is there already, as its worker died before it told, is not made again.
        """
        receipts = []
        inversion: Inversion | None = None
        for identity, item in task.items:
            name = item.file(identity)
            try:
                if self.store.has(name):
                    receipts.append(found(self.store, name, identity))
                    continue
                if inversion is None:
                    inversion = self._invert(item)
                    cost = inversion.forwards, inversion.seconds
                receipts.append(self._edit(identity, item, inversion, *cost))
                cost = 0, 0.0
            except Unwritable as error:
                return [*receipts, Receipt(identity, "waiting", str(error), stop=True)]
            except (CounterflowError, RuntimeError, MemoryError) as error:
                lost = isinstance(error, MemoryError) or "out of memory" in str(error)
                receipts.append(Receipt(identity, "failed", one_line(error), lost))
                if inversion is None:  # the others would fail like it
                    rest = task.items[len(receipts) :]
                    return receipts + [replace(receipts[-1], id=each) for each, _ in rest]
        return receipts

    def _invert(self, item: Item) -> Inversion:
        return self.editor.invert(
            item.image, item.source, self.recipe.method, seed=self.recipe.seed
        )

    def _edit(
        self,
        identity: str,
        item: Item,
        inversion: Inversion,
        forwards: int,
        seconds: float,
    ) -> Receipt:
        """One edit, as if it were the picture's only one: it must not depend on those before."""
        from counterflow.images import load_mask
        from counterflow.trust.expecting import Expecting

        recipe = self.recipe
        mask = None if item.mask is None else load_mask(item.mask, inversion.picture.size)
        inversion.forget()
        edit = self.editor.edit(
            inversion,
            item.target,
            mask=mask,
            exact_background=recipe.exact_background,
            seed=recipe.seed,
        )
        inversion.forget()
        trust = Expecting(self.editor, [item.target], False, recipe.method.name, recipe.check)
        told = trust(inversion, 0)
        name = item.file(identity)
        record = self._record(identity, item, self.store.place(name), told)
        made, size = self.store.publish(name, lambda path: save_png(edit.image, path, record))
        return Receipt(
            identity,
            "done",
            digest=made,
            bytes=size,
            forwards=forwards + edit.forwards + told["forwards"],
            seconds=seconds + edit.seconds,
            trust=told.get("success"),
            sentence=told["sentence"] or None,
        )

    def _record(
        self, identity: str, item: Item, path: Path | None, told: dict[str, Any]
    ) -> dict[str, Any]:
        """What the PNG carries: as of `edit`, so that `replay` can make it again."""
        from counterflow.edit.job import Job, ModelChoice
        from counterflow.edit.plan import Plan

        recipe = self.recipe
        choice = ModelChoice(recipe.loading, recipe.seed, recipe.model)
        job = Job(
            item.image,
            item.source,
            choice,
            recipe.method.name,
            recipe.method.to_dict(),
            mask=item.mask,
            exact_background=recipe.exact_background,
        )
        job.digest()
        plan = Plan([item.target]).record(0)
        mine = {"trust": told, "item": identity, "threads": recipe.threads}
        return job.record("edit", path, **plan, **mine)


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
