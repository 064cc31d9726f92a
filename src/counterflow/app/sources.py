"""Pictures that a visitor gives: read once by our own checks, named and known by their bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from counterflow import images
from counterflow.errors import InputError
from counterflow.prompts import is_text

MOST_BYTES = 32 * 2**20
"""Of a file that is given to the page."""
MOST_LETTERS = 2000
"""Of a sentence."""
MOST_TARGETS = 8


@dataclass(frozen=True)
class Source:
    """A picture to edit."""

    picture: Image.Image
    name: str
    """The file's own name."""
    digest: str
    """SHA-256 of the file."""
    file: Path


def read(given: str | Path | None) -> Source:
    """Read a picture by `images.load`; InputError, naming the file without its folder."""
    if not given:
        raise InputError("There is no picture yet: drop one, paste one, or take an example.")
    path = Path(given)
    with _named(path):
        return Source(images.load(path), path.name, digest(path), path)


def read_mask(given: str | Path | None, size: tuple[int, int]) -> np.ndarray:
    """Read a mask of a picture of a size, (width, height), by `images.load_mask`; as `read`."""
    if not given:
        raise InputError("There is no mask in this file.")
    with _named(Path(given)):
        return images.load_mask(given, size)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name a file without its folder."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), path.name)) from None
    except OSError:
        raise InputError(f"{path.name} is not here any more: give it again.") from None


def digest(path: Path) -> str:
    """SHA-256 of a file, as the records of pictures have it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sentence(text: str | None, what: str) -> str:
    """A visitor's sentence; InputError for an empty one, one too long, and one that is no text."""
    said = " ".join((text or "").split())
    if not is_text(said):
        raise InputError(
            f"The {what} has half a character, which no model can read: write it anew."
        )
    if not said:
        raise InputError(f"The {what} is empty: say in a sentence what the picture shows.")
    if len(said) > MOST_LETTERS:
        raise InputError(f"The {what} has {len(said)} letters; {MOST_LETTERS} are the most.")
    return said


def targets(text: str | None) -> list[str]:
    """The target sentences, one a line; InputError for none, or too many."""
    lines = [line for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise InputError("There is no target yet: say what the picture should become.")
    if len(lines) > MOST_TARGETS:
        raise InputError(f"{len(lines)} targets at once: {MOST_TARGETS} are the most, one a line.")
    return [sentence(line, "target") for line in lines]


def slug(text: str) -> str:
    """The words of a sentence as a file's name of at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "picture"
