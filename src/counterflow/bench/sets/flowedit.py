"""FlowEdit's format: a YAML list of pictures, each with its prompt and several target prompts.

    - init_img: Images/bear.png        # or input_img
      source_prompt: a bear in a stream
      target_prompts: [a black bear in a stream, a statue in a stream]
      target_codes: [1_black, 2_statue]        # optional: short names, one for each target

Paths are relative to the file. The published list says `flowedit_data/bear.png` of a picture that
its folder keeps as `Images/bear.png`, so a file that is not there is looked for there by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from counterflow.errors import InputError
from counterflow.files import inside
from counterflow.outside import Record, read_yaml

MOST = 1 << 20
"""Bytes of a list: fifteen times the published one, and still read in seconds."""


def _listed(value: Any) -> Any:
    """One text alone counts as a list of one."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]


class _Item(Record):
    """A picture and its edits."""

    init_img: str | None = None
    input_img: str | None = None
    source_prompt: str
    target_prompts: Texts
    target_codes: Texts | None = None


@dataclass(frozen=True)
class YamlEdit:
    """One target of one picture."""

    id: str
    """Unique in its list, and safe as a file name."""
    image: Path
    """Inside the list's folder, links followed; it may be missing."""
    source: str
    target: str


def read(path: Path) -> list[YamlEdit]:
    """Every edit of a list, target by target in its order.

    Raises InputError, naming the item and the index, when something is missing, of another type
    or outside the list's folder. Pictures are not opened.
    """
    items = read_yaml(path, MOST)
    if not isinstance(items, list):
        raise InputError(f"{path} must hold a list of pictures and their prompts")
    edits = []
    for index, item in enumerate(items):
        try:
            edits += _edits(path.parent, index, _Item.of(item))
        except InputError as error:
            raise InputError(f"{path.name}, item at index {index}: {error}") from None
    return edits


def _edits(folder: Path, index: int, item: _Item) -> list[YamlEdit]:
    names = [name for name in (item.init_img, item.input_img) if name is not None]
    if len(names) != 1:
        raise InputError("needs one picture: init_img or input_img")
    image, targets = _image(folder, names[0]), item.target_prompts
    codes = [""] * len(targets) if item.target_codes is None else item.target_codes
    if len(codes) != len(targets):
        raise InputError(f"has {len(codes)} target_codes for {len(targets)} target_prompts")
    return [
        YamlEdit(_id(index, number, image.stem, code), image, item.source_prompt, target)
        for number, (target, code) in enumerate(zip(targets, codes, strict=True))
    ]


def _image(folder: Path, name: str) -> Path:
    image = inside(folder, name)
    if not image.is_file():
        beside = inside(folder, f"Images/{image.name}")
        return beside if beside.is_file() else image
    return image


def _id(*parts: int | str) -> str:
    """Two numbers, which make it unique, and what tells a reader which edit it is."""
    words = (f"{part:03d}" if isinstance(part, int) else part[:40] for part in parts)
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", word) for word in words if word)
