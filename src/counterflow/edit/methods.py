"""Methods: a way to invert and a way to edit, put together under a paper's name.

To add one, write it here: a title, its source, and settings; `bench` and the reports know it then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError

FTEDIT = "Unveil Inversion and Invariance in Flow Transformer, CVPR 2025, arXiv 2411.15843"
DDIM = "Denoising Diffusion Implicit Models, ICLR 2021, arXiv 2010.02502"


@dataclass(frozen=True)
class Method:
    """A name that commands take, and what it stands for."""

    name: str
    title: str
    paper: str
    invert: InvertSettings = field(default_factory=InvertSettings)
    edit: EditSettings = field(default_factory=EditSettings)

    def but(self, options: Mapping[str, Any]) -> Method:
        """The same with some settings changed, under a name that says so.

        `guidance` is the edit's, `invert_guidance` the inversion's; all other names are theirs
        alone. Raises InputError for a setting or a value that there is not.
        """
        known = {"invert_guidance": "guidance"} | {name: name for name in INVERSION}
        invert = {known[name]: value for name, value in options.items() if name in known}
        edit = {name: value for name, value in options.items() if name not in known}
        said = ",".join(f"{name}={value}" for name, value in options.items())
        return replace(
            self,
            name=f"{self.name},{_slug(said)}" if options else self.name,
            title=f"{self.title}, {said.replace(',', ', ')}" if options else self.title,
            invert=InvertSettings.from_dict(self.invert.to_dict() | invert),
            edit=EditSettings.from_dict(self.edit.to_dict() | edit),
        )


def _slug(said: str) -> str:
    """Settings as part of a folder's name; what had to go is told apart by a digest."""
    plain = re.sub(r"[^\w.,=+-]+", "-", said)[:80].strip(".-")
    return plain if plain == said else f"{plain}-{hashlib.sha256(said.encode()).hexdigest()[:6]}"


INVERSION = {*InvertSettings().to_dict()} - {*EditSettings().to_dict()}
"""Settings that only an inversion has."""

_FREE = EditSettings(text_ratio=0.0, compensate="none")

METHODS = {
    method.name: method
    for method in (
        Method("ftedit", "FTEdit", FTEDIT),
        Method(
            "ftedit-2",
            "FTEdit with two fixed-point iterations, as in its benchmark script",
            FTEDIT,
            InvertSettings(iterations=2),
        ),
        Method(
            "ftedit-attention",
            "FTEdit with attention injection in its first 15 % of the steps",
            FTEDIT,
            edit=EditSettings(attention_ratio=0.15, attention_tokens="both"),
        ),
        Method(
            "ftedit-padding",
            "FTEdit whose text control holds padding too, as its reference does",
            FTEDIT,
            edit=EditSettings(text_padding=True),
        ),
        Method(
            "fixed-point",
            "FTEdit's inversion and compensation, without its text control",
            FTEDIT,
            edit=EditSettings(text_ratio=0.0),
        ),
        Method(
            "euler",
            "Euler inversion, the target prompt alone",
            FTEDIT,
            InvertSettings(iterations=0),
            _FREE,
        ),
        Method(
            "ddim",
            "DDIM inversion, the target prompt alone",
            DDIM,
            InvertSettings(iterations=0, solver="ddim"),
            _FREE,
        ),
    )
}
"""By name."""


def named(name: str) -> Method:
    """The method of a name; InputError, naming what there is, for another."""
    if name not in METHODS:
        raise InputError(f"no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
