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
from typing import Any

import yaml

from counterflow.bench.files import is_text, read_text, text_of
from counterflow.errors import InputError
from counterflow.files import inside

IMAGE_KEYS = ("init_img", "input_img")
MOST = 1 << 20
"""Bytes of a list: fifteen times the published one, and still read in seconds."""

DEPTH = 8
"""A list in the format is three deep."""


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
    items = _load(path)
    if not isinstance(items, list):
        raise InputError(f"{path} must hold a list of pictures and their prompts")
    edits = []
    for index, item in enumerate(items):
        try:
            edits += _edits(path.parent, index, item)
        except InputError as error:
            raise InputError(f"{path.name}, item at index {index}: {error}") from None
    return edits


def _load(path: Path) -> Any:
    """The data of a YAML file that is no bomb: a few nested aliases can stand for gigabytes."""
    text, depth = read_text(path, MOST), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH or isinstance(event, yaml.AliasEvent):
                raise InputError(f"{path} nests deeply or has *aliases; write it out")
        return yaml.safe_load(text)
    except InputError:
        raise
    except Exception as error:  # beside YAMLError whatever a hostile tag or number provokes
        raise InputError(f"{path} is not YAML ({error}); correct it") from None


def _edits(folder: Path, index: int, item: Any) -> list[YamlEdit]:
    if not isinstance(item, dict):
        raise InputError("is no dict; give it an image, source_prompt and target_prompts")
    keys = [key for key in IMAGE_KEYS if key in item]
    if len(keys) != 1:
        raise InputError(f"has {' and '.join(keys) or 'no image'}; give it one of {IMAGE_KEYS}")
    image = _image(folder, text_of(item, keys[0]))
    source, targets = text_of(item, "source_prompt"), _texts(item, "target_prompts")
    codes = _texts(item, "target_codes") if "target_codes" in item else [""] * len(targets)
    if len(codes) != len(targets):
        raise InputError(f"has {len(codes)} target_codes for {len(targets)} target_prompts")
    return [
        YamlEdit(_id(index, number, image.stem, code), image, source, target)
        for number, (target, code) in enumerate(zip(targets, codes, strict=True))
    ]


def _texts(item: dict[Any, Any], key: str) -> list[str]:
    """The texts under a key; one alone counts as a list of one."""
    values = [item[key]] if isinstance(item.get(key), str) else item.get(key)
    if not isinstance(values, list) or not values:
        raise InputError(f"lacks {key}, a list of texts")
    for index, value in enumerate(values):
        if not is_text(value):
            raise InputError(f"{key} at index {index} is {value!r:.40}, not text; put it in quotes")
    return values


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
