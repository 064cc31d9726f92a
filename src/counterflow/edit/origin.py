"""What a picture's file says of how it was made: one form for the command line and for Python."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from counterflow import __version__
from counterflow.methods.base import Method

NO_FILE = "-"
"""In place of a file's name: the picture or mask came by standard input or was in memory."""
IN_PYTHON = "Editor.edit"
"""The command of an edit that `replay` cannot make again, as no file holds what it began from."""


@dataclass(frozen=True)
class Origin:
    """Where an inversion comes from."""

    image: str
    """The file of the picture or of the stored inversion, by its full path, or `NO_FILE`."""
    digest: str
    """SHA-256 of the file, or of the pixels of a picture in memory (`digest`)."""
    seed: int
    """That of the noise which the inversion drew, if it draws any."""


def record(
    command: str,
    output: Path | None,
    image: str,
    mask: str | None,
    digests: Mapping[str, str | None],
    source: str | None,
    model: Mapping[str, Any],
    method: Method,
    **more: Any,
) -> dict[str, Any]:
    """The settings for the file `output`; other files are told relative to its folder, or as given.

    `digests` and `model` are keys and values of their own.
    """
    return {
        "command": command,
        "counterflow": __version__,
        "image": near(image, output),
        "mask": None if mask is None else near(mask, output),
        **digests,
        "source": source,
        **model,
        "method": method.name,
        "settings": method.to_dict(),
        **more,
    }


def near(path: str, output: Path | None) -> str:
    """A file's path as seen from the folder of `output`, if there is one."""
    if output is None or path == NO_FILE:
        return path
    return os.path.relpath(Path(path).absolute(), output.absolute().parent)


def digest(pixels: np.ndarray) -> str:
    """SHA-256 of a picture or mask in memory, told apart from that of a file."""
    return f"pixels:{hashlib.sha256(pixels.tobytes()).hexdigest()}"


def origin_of(image: Path | None, picture: Image.Image, seed: int) -> Origin:
    """The origin of a picture, or of a stored inversion, that was read from a file or was none."""
    if image is None:
        return Origin(NO_FILE, digest(np.asarray(picture)), seed)
    return Origin(str(image.absolute()), hashlib.sha256(image.read_bytes()).hexdigest(), seed)
