"""PIE-Bench's format on disk: one reader and one writer for it and for everything written like it.

A folder holds `mapping_file.json` and `annotation_images/`. The mapping is a dict by id; masks are
flat lists `[start, length, start, length, …]`, 0-based and row by row over 512×512 pixels, 1 where
the edit may change the picture. The published decoder then sets the outermost pixels to 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES

SIDE = 512
KEYS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id", "mask")


@dataclass(frozen=True)
class PieCase:
    """One item of a benchmark."""

    id: str
    image: Path
    source: str
    target: str
    """Both prompts without the brackets that mark what changes."""
    instruction: str
    category: int
    blended: tuple[str, str] | None
    """The words that change into each other, where the item names them."""
    mask: np.ndarray
    """Bool `[512, 512]`, True where the edit may change the picture."""


def encode_mask(mask: np.ndarray) -> list[int]:
    """A bool mask `[height, width]` as `[start, length, …]` over its rows."""
    flat = np.concatenate([[False], mask.astype(bool).ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(n) for a, b in zip(edges[::2], edges[1::2], strict=True) for n in (a, b - a)]


def decode_mask(runs: Any, side: int = SIDE, border: bool = True) -> np.ndarray:
    """The bool mask `[side, side]` of a list of runs; `border` as the published decoder does it.

    Raises InputError, naming the index, for an odd list, a negative or overflowing run, or
    something that is no whole number.
    """
    if not isinstance(runs, list):
        raise InputError(f"a mask is a list [start, length, …], not {type(runs).__name__}")
    if len(runs) % 2:
        raise InputError(f"a mask is a list of pairs; this one is odd, {len(runs)} numbers long")
    flat = np.zeros(side * side, bool)
    for index in range(0, len(runs), 2):
        start, length = runs[index], runs[index + 1]
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (start, length))
        if not whole or start < 0 or length < 0 or start + length > side * side:
            raise InputError(
                f"mask run at index {index}, [{start}, {length}], does not fit {side}×{side} pixels"
            )
        flat[start : start + length] = True
    mask = flat.reshape(side, side)
    if border:
        mask[[0, -1], :] = mask[:, [0, -1]] = True
    return mask


def read(folder: Path, border: bool = True) -> list[PieCase]:
    """Every item of a benchmark folder, in the mapping's order.

    Raises InputError, naming the item, when something is missing, malformed or outside the folder.
    """
    mapping = folder / "mapping_file.json"
    if not mapping.is_file():
        raise InputError(f"{folder} is no benchmark in PIE-Bench's format: no mapping_file.json")
    try:
        items = json.loads(mapping.read_text())
    except ValueError as error:
        raise InputError(f"{mapping} is not JSON: {error}") from None
    if not isinstance(items, dict):
        raise InputError(f"{mapping} must hold a dict of items by id")
    return [_item(folder, str(name), item, border) for name, item in items.items()]


def _item(folder: Path, name: str, item: Any, border: bool) -> PieCase:
    if not isinstance(item, dict) or (lacking := [key for key in KEYS if key not in item]):
        what = f"lacks {', '.join(lacking)}" if isinstance(item, dict) else "is no dict"
        raise InputError(f"item {name} {what}")
    images = (folder / "annotation_images").resolve()
    image = (images / str(item["image_path"])).resolve()
    if not image.is_relative_to(images):
        raise InputError(f"item {name}: image_path {item['image_path']!r} leaves the folder")
    try:
        category = int(item["editing_type_id"])
        mask = decode_mask(item["mask"], border=border)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"item {name}: {error}") from None
    if category not in CATEGORIES:
        raise InputError(f"item {name}: editing_type_id {category} is none of 0 to 9")
    words = str(item.get("blended_word", "")).split()
    return PieCase(
        name,
        image,
        _plain(item["original_prompt"]),
        _plain(item["editing_prompt"]),
        str(item.get("editing_instruction", "")),
        category,
        (words[0], words[1]) if len(words) == 2 else None,
        mask,
    )


def _plain(prompt: Any) -> str:
    """A prompt without its brackets, as the published evaluator strips them."""
    return str(prompt).replace("[", "").replace("]", "")
