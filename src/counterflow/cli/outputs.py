"""Where results go, decided and checked before anything is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from counterflow.errors import InputError


def check_output(path: Path, suffix: str = ".png") -> None:
    """Refuse an output that could not be written; InputError says why."""
    if path.suffix.lower() != suffix:
        why = ": the PNG carries the settings that made it" if suffix == ".png" else ""
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
    """Refuse to write over what is read, or two results into one file."""
    seen = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path.resolve() in seen:
            raise InputError(f"{path} is also an input or another output; name another file")
        seen.add(path.resolve())


def edit_outputs(output: Path, targets: list[str]) -> list[Path]:
    """A file for each target: `output` itself, a file in it, or its pattern filled in.

    In a pattern `{n}` is the target's number from 1 and `{target}` its words; a folder gets
    `{n}-{target}.png`.
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
    """The words of a prompt as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "target"
