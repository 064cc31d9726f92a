"""Chooses and checks the files of results, before anything is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from counterflow.errors import InputError


def check_output(path: Path, suffix: str = ".png") -> None:
    """Raise InputError, with the reason, for an output that could not be written."""
    if path.suffix.lower() != suffix:
        why = ": a PNG can store the settings" if suffix == ".png" else ""
        raise InputError(f"{path} must end in {suffix}{why}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            f"{path} cannot be written: {folder} is not a folder that you may write to"
        )


def check_distinct(outputs: Sequence[Path], inputs: Sequence[Path | None]) -> None:
    """Raise InputError if an output is also an input, or if two outputs are one file."""
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path} is also an input or another output; name another file")
        taken.add(path.resolve())


def edit_outputs(output: Path, targets: list[str]) -> list[Path]:
    """A file for each target: `output` itself, a file in it, or its pattern filled in.

    In a pattern `{n}` is the target's number from 1 and `{target}` its words; in a folder the
    pattern is `{n}-{target}.png`. Raises InputError for a file that could not be written, and for
    several targets with one name.
    """
    folder = output.is_dir() or output.suffix == ""
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
        check_output(path)
    return paths


def _slug(text: str) -> str:
    """The words of a prompt as a file name of at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "target"
