"""Whether a model works here: its own pipeline's picture, control sites, an inversion, an edit."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from counterflow.backbones.families import FAMILIES, Family
from counterflow.backbones.memory import weight_bytes
from counterflow.edit.editor import Editor

PROMPT, OTHER = "a red cat on the grass", "a blue cat on the grass"
STEPS, SEED = 2, 5
SIDE = 256
"""Pixels of a side, or less where the model's own is smaller."""
NEAR = 2
"""Largest difference of two pictures, of 255, that is rounding."""
EXACT = 1e-3
"""Largest difference of a compensated reconstruction's latent that is rounding."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    works: bool
    said: str


def examine(editor: Editor) -> Iterator[Finding]:
    """Look at a loaded model, one thing after another; each takes a few forwards."""
    backbone: Any = editor.backbone
    family, size = FAMILIES[backbone.family], _size(editor)
    where = (
        f"{backbone.identity}, {str(backbone.dtype).removeprefix('torch.')} on {backbone.device}"
    )
    yield Finding("model", True, f"{family.title}: {where}")
    picture, _ = editor.generate(PROMPT, STEPS, 1.0, SEED, size)
    yield _own_picture(backbone, family, picture)
    yield _sites(backbone, family)
    method = "fixed-point" if family.lacks else "ftedit"
    inversion = editor.invert(picture, PROMPT, method, steps=STEPS, iterations=1)
    error = editor.reconstruct(inversion).latent_error or 0.0
    yield Finding("inversion", error <= EXACT, f"compensated, exact to {error:.1e}")
    edit = editor.edit(inversion, OTHER)
    moved = float((edit.latent - inversion.image).norm() / inversion.image.norm())
    said = f"by {method}: moves the latent by {moved:.2f} of its length, {edit.forwards} forwards"
    yield Finding("edit", bool(torch.isfinite(edit.latent).all()) and moved > 0, said)
    yield Finding("memory", True, _memory(backbone))


def _size(editor: Editor) -> tuple[int, int]:
    multiple = editor.backbone.multiple
    side = max(min(SIDE, editor.square[0]) // multiple, 1) * multiple
    return side, side


def _own_picture(backbone: Any, family: Family, ours: Image.Image) -> Finding:
    """The picture of our loop beside that of the pipeline's own call, both unguided."""
    taken = inspect.signature(backbone.pipeline.__call__).parameters
    asked: dict[str, Any] = {name: value for name, value in family.plainly if name in taken}
    if "max_sequence_length" in taken:
        asked["max_sequence_length"] = backbone.length
    try:
        backbone.embed(PROMPT)  # its text encoders may have left memory
        theirs = backbone.pipeline(
            prompt=PROMPT,
            width=ours.width,
            height=ours.height,
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(SEED),
            **asked,
        ).images[0]
    except Exception as error:  # of the pipeline, not of ours
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Finding("own pipeline", bool(family.differs), family.differs or f"fails: {reason}")
    both = (np.asarray(each.convert("RGB"), int) for each in (ours, theirs))
    far = int(np.abs(np.subtract(*both)).max())
    said = f"the same seed's picture differs by {far} of 255 at most"
    if far > NEAR and family.differs:
        said += f": {family.differs}"
    return Finding("own pipeline", far <= NEAR or bool(family.differs), said)


def _sites(backbone: Any, family: Family) -> Finding:
    """Every block of a family that has them gives its text and its attention."""
    sites, blocks = backbone.sites(), len(backbone.blocks())
    parts = {(each.stream, each.part) for each in sites}
    said = f"{len(sites)} sites in {blocks} blocks"
    if family.lacks:
        return Finding("controls", True, f"{said}; this family has no {' or '.join(family.lacks)}")
    return Finding("controls", {("text", "modulated"), ("image", "v")} <= parts, said)


def _memory(backbone: Any) -> str:
    """Bytes of the weights, and on a GPU the most that was taken."""
    said = f"weights {weight_bytes(backbone.pipeline) / 1e9:.2f} GB"
    if backbone.device.type == "cuda":
        most = torch.cuda.max_memory_allocated(backbone.device)
        said += f", at most {most / 1e9:.2f} GB on the GPU"
    return said
