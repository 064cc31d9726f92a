"""Settings that a dropped result carries: read as a stranger's, checked, and given to the form.

Only words and numbers are taken from a record: no file and no model that it names is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterflow import images
from counterflow.app import sources
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.edit.job import Job
from counterflow.edit.recorded import checked
from counterflow.errors import InputError

UNREADABLE = "The settings in this picture cannot be read; it is taken as a plain picture."

OPENED = (
    ("weights", "another file of weights"),
    ("lora", "other LoRA adapters"),
    ("negative", "another negative prompt"),
    ("dtype", "another number format"),
    ("cast", "weights of another number format"),
    ("quantize", "weights that were quantised otherwise"),
)
"""Of how the model was opened: fields of a record that decide the picture, in words."""


@dataclass(frozen=True)
class Restored:
    """What a result was made with, as far as the form holds it."""

    job: Job
    source: str
    target: str
    seed: int
    masked: bool
    """Whether it was made inside a mask that was given."""
    file: Path | None
    """Its source picture, where this session had it; else None."""
    notes: tuple[str, ...]


def record(path: Path) -> dict[str, Any] | None:
    """The settings of an edit in a PNG; None for a picture without any."""
    try:
        settings = images.read_settings(path)
    except InputError:
        return None
    return settings if settings.get("command") == "edit" else None


def restored(studio: Studio, session: Session, settings: dict[str, Any]) -> Restored:
    """Check a record as `replay` does; InputError where it is damaged or of no use here."""
    try:
        told = checked(settings, Path("the picture"))
        masked = told["mask"] is not None
        mask = Path("mask") if masked else None
        job = Job.from_record(told, Path("source"), mask, studio.choice)
        said = sources.sentence(told["source"], "source sentence")
        target = sources.sentence(told["target"], "target")
    except InputError:
        raise InputError(UNREADABLE) from None
    digest, identity = told["image_sha256"], str(told["identity"])
    file = session.sources.get(digest)
    file = file if file is not None and file.is_file() else None
    notes = ["The settings of this result are restored."]
    notes += lacking(studio, told)
    if identity.rpartition("@")[2] != studio.editor.backbone.identity.rpartition("@")[2]:
        notes.append("It was made by another model, so this one will make another picture.")
    if told["turns"]:
        notes.append("It was the last of several turns, of which only the last is restored.")
    if masked:
        notes.append("It was made inside a mask: take that mask's file, or paint it again.")
    if file is None:
        notes.append(
            "The picture that it was made from is not in it: drop that one, or edit this one."
        )
    else:
        notes.append("The picture that it was made from is here again.")
    return Restored(job, said, target, told["seed"], masked, file, tuple(notes))


def lacking(studio: Studio, told: dict[str, Any]) -> list[str]:
    """A note for each recorded field that decides the picture, and for which the form has none."""
    own = studio.choice.loading.record()
    notes = [
        f"It was made with {what}, which cannot be changed on this page."
        for name, what in OPENED
        if _named(told[name]) != _named(own.get(name))
    ]
    if told["noise_seed"] is not None:
        notes.append(f"It began from noise of seed {told['noise_seed']}: the form has none of it.")
    if told["inversion_seed"] not in (None, told["seed"]):
        notes.append(f"Its inversion had the seed {told['inversion_seed']}: the form has one seed.")
    return notes


def _named(value: Any) -> Any:
    """A recorded value, files by their names alone; None for a default."""
    if isinstance(value, list):
        return [_named(each) for each in value] or None
    return (Path(value).name if isinstance(value, str) else value) or None
