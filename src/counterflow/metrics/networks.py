"""The networks that some metrics need, as far as their weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from counterflow.errors import ModelError
from counterflow.metrics import clip, lpips, structure
from counterflow.metrics.clip import Clip
from counterflow.metrics.lpips import LPIPS
from counterflow.metrics.structure import Structure

LOADERS: dict[str, Callable[[], Any]] = {
    "lpips": lpips.load,
    "structure": structure.load,
    "clip": clip.load,
}


@dataclass(frozen=True)
class Networks:
    """Networks that are at hand, and for each that is not, one line on how to get it."""

    lpips: LPIPS | None = None
    structure: Structure | None = None
    clip: Clip | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def at_hand(device: str | torch.device = "cpu") -> Networks:
    """Load each network whose weights lie on this machine; nothing is downloaded, none required."""
    found, missing = {}, {}
    for name, load in LOADERS.items():
        try:
            found[name] = load().to(device)
        except ModelError as error:
            missing[name] = str(error)
    return Networks(**found, missing=missing)
