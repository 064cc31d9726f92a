"""What a picture of ours says of how it was made, as it is read back: a stranger may have sent it.

Old records, of before methods had names, have `invert` and `edit` in place of `method` and
`settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from counterflow.edit.origin import IN_PYTHON
from counterflow.errors import InputError
from counterflow.outside import PathName, Prompt, Record, Seed

TURNS = 100
"""Most targets that are edited one from the other."""


class Made(Record):
    """The model and how it was opened, as `ModelChoice.record` tells it."""

    model: PathName
    device: str | None = None
    dtype: str | None = None
    weights: PathName | None = None
    lora: list[PathName] = Field(default_factory=list)
    cast: bool = False
    quantize: str | None = None
    negative: str = ""
    identity: str | None
    seed: Seed
    format: str | None = None
    quality: int | None = None
    """Of the file, where its form does not keep every pixel."""


class Generated(Made):
    """A picture of `generate`."""

    prompt: Prompt
    steps: int
    guidance: float
    width: int | None
    height: int | None
    solver: str = "euler"


class Reconstructed(Made):
    """A picture of `reconstruct`."""

    image: PathName
    mask: PathName | None
    image_sha256: str
    mask_sha256: str | None
    source: Prompt
    auto_mask: bool = False
    exact_background: bool = False
    mask_grow: int = 0
    mask_feather: int = 0
    inversion_seed: Seed | None = None
    method: str | None = None
    settings: dict[str, Any] | None = None
    invert: dict[str, Any] = Field(default_factory=dict)
    edit: dict[str, Any] = Field(default_factory=dict)
    compensate: bool = True


class Edited(Reconstructed):
    """A picture of `edit`."""

    target: Prompt
    turns: Annotated[list[Prompt], Field(max_length=TURNS)] = Field(default_factory=list)
    noise_seed: Seed | None = None
    trust: dict[str, Any] | None = None


KINDS: dict[str, type[Made]] = {
    "generate": Generated,
    "reconstruct": Reconstructed,
    "edit": Edited,
}
"""By command."""


def checked(settings: dict[str, Any], carrier: Path) -> dict[str, Any]:
    """The declared fields that a picture's record has, those with a default in any case.

    Raises InputError, naming the picture, for a command that cannot be replayed, and for a field
    that is missing, of another type or out of bounds.
    """
    command = settings.get("command")
    if not isinstance(command, str):
        raise InputError(f"{carrier} does not say which command made it; give another picture")
    if command not in KINDS:
        why = " (a turn, given noise, a soft mask or a model in memory)"
        more = why if command == IN_PYTHON else ""
        raise InputError(f"{carrier} was made by {command!r:.40}, which cannot be replayed{more}")
    try:
        told = KINDS[command].of(settings)
    except InputError as error:
        raise InputError(f"{carrier}, its settings: {error}; give another picture") from None
    absent = {name for name in ("format", "quality") if getattr(told, name) is None}
    return told.model_dump(exclude=absent) | {"command": command}
