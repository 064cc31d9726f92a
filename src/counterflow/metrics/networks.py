"""The networks that some metrics need, where their weights are on this machine."""

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
    """The networks that could be loaded."""

    lpips: LPIPS | None = None
    structure: Structure | None = None
    clip: Clip | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """For each network that is not there, one line that says how to get it."""


def at_hand(device: str | torch.device = "cpu") -> Networks:
    """Load each network whose weights are on this machine; never downloads, never raises."""
    networks, missing = {}, {}
    for name, load in LOADERS.items():
        try:
            networks[name] = load().to(device)
        except ModelError as error:
            missing[name] = str(error)
    return Networks(**networks, missing=missing)
