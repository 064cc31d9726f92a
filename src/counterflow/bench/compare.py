"""One picture and one target by many methods, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.errors import CounterflowError, one_line
from counterflow.methods.base import Method
from counterflow.methods.registry import Variant
from counterflow.metrics import psnr
from counterflow.progress import Progress


@dataclass(frozen=True)
class Compared:
    """What a method made of a picture, or why it made nothing."""

    name: str
    title: str
    method: Method
    edit: Edit | None = None
    error: str | None = None
    forwards: int = 0
    """For this target, the inversion included, whether or not another method had made it."""
    seconds: float = 0.0
    psnr: float | None = None
    """Likeness to the source's own round trip, outside the mask if there is one, in dB."""


def compare(
    editor: Editor,
    picture: Image.Image,
    source: str,
    target: str,
    variants: Sequence[Variant],
    mask: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    steps: Progress | None = None,
    exact_background: bool = False,
) -> Iterator[Compared]:
    """Each method's edit, as soon as it is made; an error stops only the method that has it.

    Methods that invert a picture alike share the inversion. `mask` and, where there is one,
    `exact_background` are as in `Editor.edit_batch`.
    `progress` is told of each method, `steps` of each step of one.
    """
    inversions: dict[object, Inversion] = {}
    for n, each in enumerate(variants):
        how = each.method
        try:
            inversion = inversions.get(how.sharing_key)
            if inversion is None:
                inversion = editor.invert(picture, source, how, steps, seed)
                inversions[how.sharing_key] = inversion
            inversion.forget()
            exact = exact_background and mask is not None
            inside = {"mask": mask, "exact_background": exact}
            edit = editor.edit(inversion, target, how, **inside, seed=seed, progress=steps)
        except (CounterflowError, RuntimeError) as error:
            yield Compared(each.name, each.title, how, error=one_line(error))
        else:
            whole = edit.costing(inversion)
            kept = editor.round_trip(inversion)
            where = None if mask is None else mask == 0
            likeness = psnr(np.asarray(kept), np.asarray(edit.image), where)
            yield Compared(
                each.name, each.title, how, edit, None, whole.forwards, whole.seconds, likeness
            )
        if progress is not None:
            progress("methods", n + 1, len(variants))
