"""PIE-Bench's format on disk: one reader and one writer for it and for everything written like it.

A folder holds `mapping_file.json` and `annotation_images/`. The mapping is a dict by id; masks are
flat lists `[start, length, start, length, …]`, 0-based and row by row over 512×512 pixels, 1 where
the edit may change the picture.

Two profiles read it, and no table may mix them:

- `pie-compat` reads what the published evaluator reads. A run past the end is cut there, the
  outermost pixels of the 512×512 count as edited whatever the mask says, and of a prompt only the
  characters `[` and `]` are taken out.
- `corrected` trusts the annotation: no border is added, a run past the end is an error, and the
  spaces that brackets leave behind are made one.

Both refuse what the published decoder would stumble over or read from the wrong end: odd lists,
negative or fractional numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BeforeValidator, Field

from counterflow.errors import InputError
from counterflow.files import inside
from counterflow.outside import Record, read_dict
from counterflow.toybox.edits import CATEGORIES

SIDE = 512
MOST = 2 * SIDE * SIDE
"""Numbers of a mask: a run for each pixel, which is more than any needs."""
MAPPING = "mapping_file.json"
IMAGES = "annotation_images"
Profile = Literal["pie-compat", "corrected"]


def _number(value: Any) -> Any:
    """A category, which PIE-Bench writes as a text."""
    written = isinstance(value, str) and value.isascii() and value.isdecimal()
    return int(value[:9]) if written else value


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


OptionalText = Annotated[str, BeforeValidator(_or_empty)]


class _Item(Record):
    """An item as it stands in the mapping; a mask's runs are checked by `decode_mask`."""

    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_type_id: Annotated[int, BeforeValidator(_number), Field(ge=0, le=max(CATEGORIES))]
    mask: Any
    editing_instruction: OptionalText = ""
    blended_word: OptionalText = ""


@dataclass(frozen=True)
class PieCase:
    """One item of a benchmark."""

    id: str
    image: Path
    """Inside the folder, links followed; it may be missing."""
    source: str
    target: str
    """Both prompts without the brackets that mark what changes."""
    instruction: str
    category: int
    blended: tuple[str, str] | None
    """The words that change into each other, where the item names exactly two."""
    runs: tuple[int, ...]
    profile: Profile

    @property
    def mask(self) -> np.ndarray:
        """Bool `[512, 512]`, True where the edit may change the picture; all of it, perhaps."""
        return _decode(self.runs, self.profile)


def check_profile(profile: str) -> None:
    """Raises InputError for a profile that there is not."""
    if profile not in get_args(Profile):
        raise InputError(f"profile is {' or '.join(get_args(Profile))}, not {profile!r}")


def encode_mask(mask: np.ndarray) -> list[int]:
    """A bool mask `[height, width]` as `[start, length, …]` over its rows."""
    flat = np.concatenate([[False], mask.astype(bool).ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(n) for a, b in zip(edges[::2], edges[1::2], strict=True) for n in (a, b - a)]


def decode_mask(runs: Any, side: int = SIDE, border: bool = True, clip: bool = False) -> np.ndarray:
    """The bool mask `[side, side]` of a list of runs, which may touch, overlap and be empty.

    `border` sets the outermost pixels; `clip` cuts a run that passes the end, or drops one that
    begins there. The published decoder does both. Raises InputError, naming the index, for an odd
    list, a negative run, one that passes the end without `clip`, and what is no whole number.
    """
    if not isinstance(runs, list | tuple):
        raise InputError(f"a mask is a list [start, length, …], not {type(runs).__name__}")
    if len(runs) % 2:
        raise InputError(f"a mask is a list of pairs; this one is odd, {len(runs)} numbers long")
    if len(runs) > MOST:
        raise InputError(f"a mask has at most {MOST // 2} runs, not {len(runs) // 2}")
    flat = np.zeros(side * side, bool)
    for index in range(0, len(runs), 2):
        start, length = runs[index], runs[index + 1]
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (start, length))
        fits = whole and min(start, length) >= 0 and (clip or start + length <= flat.size)
        if not fits:
            raise InputError(
                f"mask run at index {index}, [{start!r:.20}, {length!r:.20}], "
                f"does not fit {side}×{side} pixels"
            )
        flat[start : start + length] = True
    mask = flat.reshape(side, side)
    if border:
        mask[[0, -1], :] = mask[:, [0, -1]] = True
    return mask


def fitted(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at a picture's own `(width, height)`: bool `[height, width]`, nearest by centres.

    At 512×512 it is the mask itself. In a smaller picture a border of one pixel of 512 is thinner
    than a pixel and may vanish; the published evaluator knows no other size than 512.
    """
    width, height = size
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip((height, width), mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def plain(prompt: str, profile: Profile) -> str:
    """A prompt without its brackets; corrected, also without the spaces that they leave."""
    stripped = prompt.replace("[", "").replace("]", "")
    return stripped if profile == "pie-compat" else " ".join(stripped.split())


def read(folder: Path, profile: Profile = "pie-compat") -> list[PieCase]:
    """Every item of a benchmark folder, in the mapping's order.

    Raises InputError, naming the item, when something is missing, malformed or outside the folder.
    Pictures are not opened: one that is missing or damaged fails its own case, later.
    """
    check_profile(profile)
    if not (folder / MAPPING).is_file():
        raise InputError(f"{folder} is no benchmark in PIE-Bench's format: it has no {MAPPING}")
    items, images = read_dict(inside(folder, MAPPING)), inside(folder, IMAGES)
    return [_item(images, name, item, profile) for name, item in items.items()]


def _item(images: Path, name: str, data: Any, profile: Profile) -> PieCase:
    try:
        item = _Item.of(data)
        words = item.blended_word.split()
        _decode(item.mask, profile)  # so that a malformed one is found now
        return PieCase(
            name,
            inside(images, item.image_path),
            plain(item.original_prompt, profile),
            plain(item.editing_prompt, profile),
            item.editing_instruction,
            item.editing_type_id,
            (words[0], words[1]) if len(words) == 2 else None,
            tuple(item.mask),
            profile,
        )
    except InputError as error:
        raise InputError(f"item {name:.100}: {error}") from None


def _decode(runs: Any, profile: Profile) -> np.ndarray:
    compat = profile == "pie-compat"
    return decode_mask(runs, border=compat, clip=compat)
