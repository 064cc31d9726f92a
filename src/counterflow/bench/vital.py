"""Which blocks decide most of a model's pictures (vital layers, Stable Flow, arXiv 2411.14430).

Pictures are generated from fixed prompts and seeds, and again with one block bypassed: it adds
nothing to its streams. A block's vitality is 1 less the mean likeness of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from counterflow.backbones.base import Block
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, ModelError
from counterflow.metrics import dinov2
from counterflow.metrics.pixels import Picture, ssim
from counterflow.progress import Progress
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import sample

SPREADS = 0.5
"""A block is vital above the mean of all by so many standard deviations."""
Likeness = Callable[[Picture, Picture], float]


@dataclass(frozen=True)
class Vitality:
    """Of each block, and which are vital."""

    values: tuple[float, ...]
    likeness: str
    """By what pictures were compared."""

    @property
    def threshold(self) -> float:
        """Mean plus half a standard deviation."""
        return float(np.mean(self.values) + SPREADS * np.std(self.values))

    @property
    def vital(self) -> tuple[int, ...]:
        """The blocks above the threshold."""
        return tuple(n for n, value in enumerate(self.values) if value > self.threshold)


@contextmanager
def bypassed(block: Block) -> Iterator[None]:
    """Inside, a block's streams leave it as they came."""
    handle = block.module.register_forward_hook(
        lambda _module, args, named, _output: block.passed(args, named), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()


def likeness() -> tuple[str, Likeness]:
    """The cosine of DINOv2 features, as published, or without its weights SSIM; and its name."""
    try:
        return "DINOv2", dinov2.load().similarity
    except ModelError:
        return "SSIM", lambda a, b: ssim(a, b) or 0.0


def prompts(count: int, seed: int = 0) -> list[str]:
    """Captions of toy scenes, which any model can draw."""
    return [caption(sample(seed + n)) for n in range(count)]


def vitality(
    editor: Editor,
    asked: Sequence[str],
    steps: int = 15,
    guidance: float = 3.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Vitality:
    """Every block's vitality over some prompts; picture n has the seed `seed + n`."""
    blocks = editor.backbone.blocks()
    if not blocks or not asked:
        raise InputError("vitality is measured on a model with blocks, by one prompt or more")
    name, alike = likeness()

    def made(number: int) -> list[Picture]:
        pictures = []
        for n, prompt in enumerate(asked):
            picture, _ = editor.generate(prompt, steps, guidance, seed + n)
            pictures.append(np.asarray(picture))
            if progress is not None:
                done = number * len(asked) + n + 1
                progress("generating", done, (len(blocks) + 1) * len(asked))
        return pictures

    whole, values = made(0), []
    for number, block in enumerate(blocks, 1):
        with bypassed(block):
            without = made(number)
        values.append(
            1 - float(np.mean([alike(a, b) for a, b in zip(whole, without, strict=True)]))
        )
    return Vitality(tuple(values), name)
