"""Chooses and checks the files of results, before anything is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.cli.streams import STANDARD, check_stream
from counterflow.errors import InputError

if TYPE_CHECKING:
    from PIL import Image


def check_picture(path: Path, json: bool = False, quality: int = 95) -> None:
    """Raise InputError for a picture's output that could not be written; `-` is standard output."""
    from counterflow.carriers import PERCENT, form_of

    PERCENT.check("--quality", quality)
    if path == STANDARD:
        check_stream(json)
    else:
        form_of(path)
        check_output(path, path.suffix.lower())


def check_output(path: Path, suffix: str = ".png") -> None:
    """Raise InputError, with the reason, for an output that could not be written."""
    if path.suffix.lower() != suffix:
        raise InputError(f"{path} must end in {suffix}")
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:  # a folder that hides what is in it, a name that is too long
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    if not writable:
        raise InputError(
            f"{path} cannot be written: {folder} is not a folder that you may write to"
        )


def check_room(path: Path, picture: Image.Image | None, settings: dict[str, Any]) -> None:
    """Raise InputError where the form of a file cannot hold such a picture and its settings.

    What is only known when the picture is made, as its figures of trust, is small.
    """
    from counterflow.carriers import check_fits

    if path != STANDARD and picture is not None:
        check_fits(path, picture.size, settings)


def check_distinct(outputs: Sequence[Path], inputs: Sequence[Path | None]) -> None:
    """Raise InputError if an output is also an input, or if two outputs are one file."""
    taken = {os.path.realpath(path) for path in inputs if path is not None and path != STANDARD}
    for path in outputs:
        real = os.path.realpath(path)  # which, unlike Path.resolve, bears a loop of links
        if real in taken:
            raise InputError(f"{path} is also an input or another output; name another file")
        taken.add(real)


def edit_outputs(
    output: Path, targets: list[str], json: bool = False, quality: int = 95
) -> list[Path]:
    """A file for each target: `output` itself, a file in it, or its pattern filled in.

    In a pattern `{n}` is the target's number from 1 and `{target}` its words; in a folder the
    pattern is `{n}-{target}.png`. One target may go to standard output, `-`. Raises InputError for
    a file that could not be written, and for several targets with one name.
    """
    folder = output != STANDARD and (os.path.isdir(output) or output.suffix == "")
    pattern = str(output / "{n}-{target}.png") if folder else str(output)
    if len(targets) > 1 and "{n}" not in pattern and "{target}" not in pattern:
        raise InputError(
            f"{len(targets)} targets but one output: name a folder, or a pattern with {{n}} or "
            "{target}"
        )
    paths = [
        Path(pattern.replace("{n}", str(n)).replace("{target}", _slug(target)))
        for n, target in enumerate(targets, 1)
    ]
    for path in paths:
        check_picture(path, json, quality)
    return paths


def _slug(text: str) -> str:
    """The words of a prompt as a file name of at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "target"
