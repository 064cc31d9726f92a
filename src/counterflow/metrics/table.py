"""Every metric of an edit in one table, with its region, in two profiles.

- `corrected` is the mean over the pixels that count; LPIPS sees all of both pictures and averages
  its map.
- `pie-compat` is PIE-Bench's published evaluator (Ju et al. 2023, arXiv:2310.01506), flaws
  included, for comparison with papers: the edited region is painted black in both pictures and
  counted as perfect, and structure distance takes values in 0…255 for values in 0…1. It agrees to
  single precision with the evaluator on the libraries of its time: later torchvision smooths what
  it shrinks, later torchmetrics counts SSIM's reflected borders.

A table never mixes them. A value that does not exist is None in both, where the published code
writes the string "nan": a region without pixels, a network that is not at hand, no prompt.
Equal pictures have an infinite PSNR in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from counterflow.metrics.networks import Networks
from counterflow.metrics.pixels import Picture, Region, check, mse, psnr, ssim

NOTHING = Networks()
PROFILES = ("corrected", "pie-compat")


@dataclass(frozen=True)
class View:
    """What one metric is to look at."""

    source: Picture
    edited: Picture
    where: Region | None
    """The pixels that count, None for all."""
    prompt: str | None
    pie_compat: bool

    @property
    def compared(self) -> tuple[Picture, Picture, Region | None]:
        """Both pictures, and the region to average over, as the profile has it."""
        if self.where is None or not self.pie_compat:
            return self.source, self.edited, self.where
        return blackened(self.source, self.where), blackened(self.edited, self.where), None


def blackened(picture: Picture, where: Region) -> Picture:
    """A picture that is black outside a region."""
    black: Picture = picture * where[..., None]
    return black


@dataclass(frozen=True)
class Metric:
    """A metric's name and the region it is of; which direction is better, `bench.figures` says."""

    name: str
    region: str
    """`background` (outside the mask), `whole` or `edited` (inside the mask)."""
    of: Callable[[View, Any], float | None]
    """Its value, given what it needs."""
    needs: str | None = None
    """The field of `Networks` that it needs."""
    scale: float = 1
    """What papers multiply it by when they print it."""


def _structure(view: View, network: Any) -> float:
    return float(network.distance(view.source, view.edited, view.pie_compat))


def _clip(view: View, network: Any) -> float | None:
    if view.prompt is None:
        return None
    seen = view.edited if view.where is None else blackened(view.edited, view.where)
    score = float(network.score(seen, view.prompt))
    return max(0.0, score) if view.pie_compat else score


METRICS = (
    Metric("structure", "whole", _structure, "structure", 1e3),
    Metric("PSNR", "background", lambda view, _: psnr(*view.compared)),
    Metric("LPIPS", "background", lambda v, net: net.distance(*v.compared), "lpips", 1e3),
    Metric("MSE", "background", lambda view, _: mse(*view.compared), scale=1e4),
    Metric("SSIM", "background", lambda view, _: ssim(*view.compared), scale=1e2),
    Metric("CLIP whole", "whole", _clip, "clip"),
    Metric("CLIP edited", "edited", _clip, "clip"),
)
"""In the papers' order. `CLIP edited` sees black outside the mask in both profiles."""


def background_psnr(
    source: Picture, edited: Picture, mask: Region, profile: str = "corrected"
) -> float | None:
    """The `PSNR` of `measure` alone, outside the mask; None where that is nothing."""
    if mask.all():
        return None
    return psnr(*View(source, edited, ~mask, None, profile == "pie-compat").compared)


def measure(
    source: Picture,
    edited: Picture,
    mask: Region,
    profile: str = "corrected",
    prompt: str | None = None,
    networks: Networks = NOTHING,
) -> dict[str, float | None]:
    """Every metric's value by name, None where there is none.

    `mask` is where the edit was to be, `prompt` the edited picture's. Raises ValueError for arrays
    that do not fit and for another profile.
    """
    check(source, edited, mask)
    if profile not in PROFILES:
        raise ValueError(f"profile is one of {', '.join(PROFILES)}, not {profile!r}")
    regions = {"background": ~mask, "whole": None, "edited": mask}
    values: dict[str, float | None] = {}
    for metric in METRICS:
        where = regions[metric.region]
        network = getattr(networks, metric.needs) if metric.needs else None
        empty = where is not None and not where.any()
        lacking = metric.needs is not None and network is None
        view = View(source, edited, where, prompt, profile == "pie-compat")
        values[metric.name] = None if empty or lacking else metric.of(view, network)
    return values
