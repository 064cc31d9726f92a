"""Prompts before an edit: embedded, warned about, matched with the source's."""

from __future__ import annotations

import warnings
from textwrap import shorten
from typing import cast

from counterflow.backbones.base import Backbone, Conditioning
from counterflow.controls.align import Level, padding, row_words, text_map
from counterflow.controls.base import RowMap
from counterflow.edit.settings import EditSettings
from counterflow.errors import InputError


def embed(backbone: Backbone, prompt: str) -> Conditioning:
    """Embed a prompt; warns (UserWarning) of words that are cut off or that no training had."""
    conditioning = backbone.embed(prompt)
    for tokenizer, rest in conditioning.cut.items():
        said = f"the prompt {shorten(prompt, 40)!r} is too long for {tokenizer}"
        warnings.warn(f"{said}; not seen: {shorten(rest, 200)!r}", stacklevel=3)
    if conditioning.unknown:
        said = ", ".join(map(repr, conditioning.unknown))
        warnings.warn(f"the model never learned {shorten(said, 200)}", stacklevel=3)
    return conditioning


def row_map(source: Conditioning, target: Conditioning, level: str) -> RowMap:
    """Which of the source's text rows each of the target's corresponds to."""
    prompts = (source.prompt, target.prompt)
    rows = text_map(source.segments, target.segments, target.length, cast(Level, level), prompts)
    words = row_words(target.segments, target.length, target.prompt)
    return RowMap(tuple(rows), tuple(words), padding(target.segments))


def check_blocks(backbone: Backbone, settings: EditSettings) -> None:
    """Refuse blocks that the model lacks."""
    wanted = {*(settings.text_blocks or ()), *(settings.attention_blocks or ())}
    if wanted:
        blocks = 1 + max(site.block for site in backbone.sites())
        if max(wanted) >= blocks:
            raise InputError(f"this model has blocks 0 to {blocks - 1}, not {max(wanted)}")
