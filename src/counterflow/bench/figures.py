"""The figures of a benchmark: what each means, its unit, and which direction is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
NEED_JUDGE = ("success", "kept")


@dataclass(frozen=True)
class Figure:
    """A number that every edit may have."""

    meaning: str
    """A sentence for someone who never saw the code."""
    better: Better
    low: float = 0
    high: float = math.inf
    """The values it can take; infinite itself only for a figure in dB."""
    unit: str = ""
    digits: int = 2


FIGURES: dict[str, Figure] = {
    "success": Figure(
        "Share of edits in which the judge reads every attribute that was to change as its target.",
        "higher",
        high=1,
    ),
    "kept": Figure(
        "Share of the other attributes that the judge still reads as they were.",
        "higher",
        high=1,
    ),
    "distance": Figure(
        "Squared distance to the true edited picture where the edit belongs, as a share of the "
        "source's own: 0 is the truth itself, 1 is no nearer than the unedited source.",
        "lower",
    ),
    "PSNR": Figure(
        "Likeness of edit and source outside the edited region, in decibels (peak signal-to-noise "
        "ratio): 20 is a visible change, 30 a slight one, 40 hardly any.",
        "higher",
        unit="dB",
        digits=1,
    ),
    "SSIM": Figure(
        "Likeness of structure outside the edited region: 1 is identical.",
        "higher",
        low=-1,
        high=1,
        digits=3,
    ),
    "MSE": Figure(
        "Mean squared error outside the edited region, of values from 0 to 1.",
        "lower",
        high=1,
        digits=4,
    ),
    "LPIPS": Figure(
        "Difference outside the edited region as a vision network perceives it: 0 is none.",
        "lower",
        digits=3,
    ),
    "structure": Figure(
        "Difference in layout between edit and source by the self-similarity of a vision "
        "transformer's features: 0 is none.",
        "lower",
        digits=4,
    ),
    "CLIP whole": Figure(
        "Agreement of the whole picture with the target prompt by CLIP, 100 at most.",
        "higher",
        low=-100,
        high=100,
        digits=1,
    ),
    "CLIP edited": Figure(
        "Agreement of the edited region alone with the target prompt by CLIP, 100 at most.",
        "higher",
        low=-100,
        high=100,
        digits=1,
    ),
    "forwards": Figure(
        "Evaluations of the network for one edit, inversion included.", "lower", digits=0
    ),
    "seconds": Figure("Time of one edit, inversion included.", "lower", digits=1),
    "memory": Figure("Most memory in use during the edit.", "lower", unit="MB", digits=0),
}
"""By name, in the order in which tables show them."""

COST = ("forwards", "seconds", "memory")
QUALITY = tuple(name for name in FIGURES if name not in COST)
