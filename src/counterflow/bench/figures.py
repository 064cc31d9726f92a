"""The figures of a benchmark, each declared once: meaning, unit, better direction, average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from counterflow.bench.stats import Interval, mean_interval, median_interval

Better = Literal["higher", "lower"]
Average = Literal["mean", "median"]
Subject = Literal["edit", "model", "mask", "trust", "reconstruction", "cost"]
NEED_JUDGE = ("success", "kept")


@dataclass(frozen=True)
class Figure:
    """A number that an edit or a reconstruction may have."""

    meaning: str
    """A sentence for someone who never saw the code."""
    better: Better
    low: float = 0
    high: float = math.inf
    """The values it can take; infinite itself only for a figure in dB."""
    unit: str = ""
    digits: int = 2
    average: Average = "mean"
    """How it is averaged over cases."""
    subject: Subject = "edit"
    """What it says something of: an edit, the model, a found mask, what was
    foretold of it, a reconstruction, a cost."""


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
    "moved": Figure(
        "Share of edits that are nearer to the true edited picture than to the source, where the "
        "edit belongs.",
        "higher",
        high=1,
    ),
    "distance": Figure(
        "Squared distance to the true edited picture where the edit belongs, as a share of the "
        "source's own: 0 is the truth itself, 1 is no nearer than the unedited source. The median "
        "over edits.",
        "lower",
        average="median",
    ),
    "PSNR": Figure(
        "Likeness of edit and source outside the edited region, in decibels (peak signal-to-noise "
        "ratio): 20 is a visible change, 30 a slight one, 40 hardly any.",
        "higher",
        unit="dB",
        digits=1,
    ),
    "round trip": Figure(
        "The same PSNR for the source through the model's autoencoder and back: what no edit can "
        "exceed by much.",
        "higher",
        unit="dB",
        digits=1,
        subject="model",
    ),
    "mask IoU": Figure(
        "Overlap of the mask that a method itself finds with the true region of the edit, in "
        "latent cells: their intersection over their union.",
        "higher",
        high=1,
        subject="mask",
    ),
    "chance": Figure(
        "The chance of success that the model's calibration tells, from the picture, its sentence "
        "and the target alone; `bench --check` measures it.",
        "higher",
        high=1,
        subject="trust",
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
    "latent": Figure(
        "Relative error of the image's latent, reconstructed from its noise.",
        "lower",
        digits=3,
        subject="reconstruction",
    ),
    "largest": Figure(
        "Largest absolute error of the reconstructed latent, whose values spread about one.",
        "lower",
        digits=6,
        subject="reconstruction",
    ),
    "residual": Figure(
        "Relative fixed-point residual of the inversion, the mean over its steps.",
        "lower",
        digits=4,
        subject="reconstruction",
    ),
    "worst residual": Figure(
        "The same of its worst step.",
        "lower",
        digits=4,
        subject="reconstruction",
    ),
    "reconstruction PSNR": Figure(
        "Likeness of the reconstruction and the source's round trip through the autoencoder, in "
        "decibels.",
        "higher",
        unit="dB",
        digits=1,
        subject="reconstruction",
    ),
    "forwards": Figure(
        "Evaluations of the network for one edit, inversion included; for a reconstruction those "
        "of the inversion.",
        "lower",
        digits=0,
        subject="cost",
    ),
    "seconds": Figure("Time of one edit, inversion included.", "lower", digits=1, subject="cost"),
    "memory": Figure(
        "Most memory in use during the edit.", "lower", unit="MB", digits=0, subject="cost"
    ),
}
"""By name, in the order in which tables show them."""


def about(*subjects: Subject) -> tuple[str, ...]:
    """The names of the figures of some subjects, in order."""
    return tuple(name for name, figure in FIGURES.items() if figure.subject in subjects)


COST = about("cost")
QUALITY = about("edit")
RECONSTRUCTION = about("reconstruction")


def label(name: str, of_all: bool = True) -> str:
    """A figure's name as a heading: its unit and, `of_all` cases, its average if no mean."""
    figure = FIGURES[name]
    heading = f"{name} (median)" if of_all and figure.average == "median" else name
    return f"{heading}, {figure.unit}" if figure.unit else heading


def averaged(name: str, values: Sequence[float | None], resamples: int = 2000) -> Interval:
    """A figure's mean or median over cases, as it is declared."""
    median = FIGURES[name].average == "median"
    interval = median_interval if median else mean_interval
    return interval(values, resamples=resamples)
