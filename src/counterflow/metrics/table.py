"""Every metric of an edit in one table, each over its own region, in two profiles.

- `corrected` averages over the pixels of the region alone; LPIPS is computed from the whole
  pictures and its map is averaged over the region.
- `pie-compat` repeats PIE-Bench's published evaluator (Ju et al. 2023, arXiv:2310.01506) with its
  flaws, for comparison with papers: the edited region is painted black in both pictures and counts
  as perfect, and structure distance treats values in 0…255 as if they were in 0…1. It agrees to
  single precision with the evaluator run on the libraries of 2023. Later libraries differ:
  torchvision smooths when it shrinks, and torchmetrics counts SSIM's reflected borders.

A table holds one profile only. In both, a value is None where it does not exist (the published code
writes the string "nan"): a region without pixels, a network that is absent, no prompt. Equal
pictures have an infinite PSNR in both.
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
    """The input of one metric."""

    source: Picture
    edited: Picture
    where: Region | None
    """The pixels to measure, None for all."""
    prompt: str | None
    """The edited picture's; None if there is none."""
    pie_compat: bool

    @property
    def compared(self) -> tuple[Picture, Picture, Region | None]:
        """Both pictures and the region to average over, as the profile defines them."""
        if self.where is None or not self.pie_compat:
            return self.source, self.edited, self.where
        return blackened(self.source, self.where), blackened(self.edited, self.where), None


def blackened(picture: Picture, where: Region) -> Picture:
    """A picture that is black outside a region."""
    black: Picture = picture * where[..., None]
    return black


@dataclass(frozen=True)
class Metric:
    """A metric and its region; `bench.figures` says which direction is better."""

    name: str
    region: str
    """`background` (outside the mask), `whole` or `edited` (inside the mask)."""
    of: Callable[[View, Any], float | None]
    """Computes the value from a view and the network of `needs` (or None)."""
    needs: str | None = None
    """The field of `Networks` that it needs; None if it needs no network."""
    scale: float = 1
    """Papers print the value times this."""


def _structure(view: View, network: Any) -> float:
    return float(network.distance(view.source, view.edited, view.pie_compat))


def _clip(view: View, network: Any) -> float | None:
    if view.prompt is None:
        return None
    picture = view.edited if view.where is None else blackened(view.edited, view.where)
    score = float(network.score(picture, view.prompt))
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
"""In the papers' order. For `CLIP edited` all outside the mask is black, in both profiles."""


def background_psnr(
    source: Picture, edited: Picture, mask: Region, profile: str = "corrected"
) -> float | None:
    """The `PSNR` of `measure` alone, in dB, outside the mask; None if nothing is outside."""
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
    """Every metric's value by name, None where it does not exist.

    `mask` is where the edit was wanted, `prompt` the edited picture's. Raises ValueError for arrays
    of another type or size and for an unknown profile.
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
        network_absent = metric.needs is not None and network is None
        view = View(source, edited, where, prompt, profile == "pie-compat")
        values[metric.name] = None if empty or network_absent else metric.of(view, network)
    return values
