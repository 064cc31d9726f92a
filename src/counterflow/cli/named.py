"""A model that a stranger's file names is opened only if the user names it, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.backbones.registry import BUNDLED
from counterflow.errors import InputError

NamedModel = Annotated[
    str | None,
    typer.Option(help="The model, where it is not a bundled one: only what you name is opened."),
]
NamedWeights = Annotated[
    str | None, typer.Option(help="The file of its transformer's weights, if there was one.")
]
NamedLora = Annotated[
    list[str] | None, typer.Option(help="Its LoRA, FILE or FILE=0.8; may be repeated.")
]


def named(
    recorded: Loading,
    carrier: Path,
    model: str | None,
    weights: str | None,
    lora: Sequence[str] | None,
) -> Loading:
    """The recorded model where it is a bundled one, or else the one that is named.

    Raises InputError where none is: what `carrier` says must not decide what is opened.
    """
    if model is not None:
        return replace(recorded, model=model, weights=weights, lora=tuple(lora or ()))
    if recorded.model in BUNDLED and not recorded.weights and not recorded.lora:
        return recorded
    files = [("--weights", recorded.weights)] * bool(recorded.weights)
    files += [("--lora", each) for each in recorded.lora]
    options = (f"{name} {quote(str(x))}" for name, x in [("--model", recorded.model), *files])
    raise InputError(
        f"{carrier} was made with {' '.join(options)}: give these options, if you know them"
    )
