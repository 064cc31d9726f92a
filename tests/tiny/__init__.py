"""A tiny pipeline of random weights for each family, and how its own call is asked for latents.

A file for each family, with its entries of `TINY`; `parts` has what they share.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tiny.parts import Tiny

TINY: dict[str, Tiny] = {}
for path in sorted(Path(__file__).parent.glob("*.py")):
    if path.stem not in ("__init__", "parts"):
        TINY |= import_module(f"tiny.{path.stem}").TINY
