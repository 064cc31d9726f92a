"""Records of before methods had names of their own: all of them were FTEdit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"window": "average_window", "guidance": "invert_guidance"}
"""Settings of the old inversion record that have another name now."""


def ftedit_settings(invert: Mapping[str, Any], edit: Mapping[str, Any]) -> dict[str, Any]:
    """FTEdit's settings from the two old records, of the inversion and of the edit."""
    settings = {RENAMED.get(name, name): value for name, value in invert.items()}
    return settings | {name: value for name, value in edit.items() if name != "exact_background"}
