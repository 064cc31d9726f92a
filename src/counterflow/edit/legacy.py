"""Reads old records, written before methods had names; all of them are of FTEdit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"window": "average_span", "guidance": "invert_guidance"}
"""Old names of settings in the inversion record, with the new names."""


def ftedit_settings(invert: Mapping[str, Any], edit: Mapping[str, Any]) -> dict[str, Any]:
    """FTEdit's settings from the two old records, of the inversion and of the edit."""
    settings = {RENAMED.get(name, name): value for name, value in invert.items()}
    return settings | {name: value for name, value in edit.items() if name != "exact_background"}
