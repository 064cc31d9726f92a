"""A made-up results folder: real pictures, figures drawn at random with known differences."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageFilter

from counterflow.bench.figures import FIGURES
from counterflow.bench.results import (
    Bench,
    MethodResults,
    Result,
    write_bench,
    write_method,
    write_result,
)
from counterflow.bench.sets.toypie import scene_edits
from counterflow.images import save_png
from counterflow.toybox import judge
from counterflow.toybox.edits import CATEGORIES, SceneEdit
from counterflow.toybox.render import render

METHODS = (
    MethodResults(
        "ftedit",
        "FTEdit",
        "Xu et al., Unveil Inversion and Invariance in Flow Transformer, CVPR 2025",
        "ftedit",
        {"steps": 30, "iterations": 3, "average": True, "average_span": None}
        | {"guidance": 2.0, "text_ratio": 1.0, "attention_parts": ["v"], "compensate": "source"},
    ),
    MethodResults("naive", "Euler & nothing", "", "ode", {"steps": 30, "guidance": 2.0}),
    MethodResults(
        "firm",
        "Injection of $v$",
        "A <paper>, 2024",
        "ftedit",
        {"steps": 15, "attention_ratio": 0.6},
    ),
)
SKILL = {"ftedit": (0.85, 28.0), "naive": (0.6, 20.0), "firm": (0.4, 33.0)}
SIDE = 64
ERROR = "the numbers went wrong; use float32"


def write(folder: Path, count: int = 60, pictures: bool = True) -> list[str]:
    """Results of three methods on `count` cases; the names of the cases."""
    accuracy = judge.accuracy()["round_trips"]
    notes = ("LPIPS: its weights are not at hand.",)
    write_bench(
        folder,
        Bench("toypie", 10_000, None, "corrected", "toybox@0123abcd", "0.1.0", accuracy, notes),
    )
    drawn = scene_edits(count, 10_000)
    names = [f"{edit.category}{edit.source.seed:011d}" for edit in drawn]
    for name, edit in zip(names, drawn, strict=True):
        if pictures:
            save_png(render(edit.source, SIDE), folder / "sources" / f"{name}.png")
            save_png(render(edit.target, SIDE), folder / "truths" / f"{name}.png")
    for method in METHODS:
        write_method(folder, method)
        for i, (name, edit) in enumerate(zip(names, drawn, strict=True)):
            broken = method.name == "naive" and i == 7
            _write_one(folder, method.name, name, edit, broken, pictures)
    return names


def _write_one(
    folder: Path, method: str, case: str, edit: SceneEdit, broken: bool, pictures: bool
) -> None:
    rng = random.Random(f"{method} {case}")
    share, psnr = SKILL[method]
    success = rng.random() < share
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    if not broken:
        figures |= {"success": float(success), "kept": rng.choice((1, 1, 1, 0.9, 0.8, 0.5))}
        figures |= {"distance": rng.uniform(0.1, 0.6) if success else rng.uniform(0.6, 1.2)}
        figures |= {"moved": float(success), "round trip": 41.5}
        figures |= {"PSNR": rng.gauss(psnr, 3), "SSIM": rng.uniform(0.8, 0.99)}
        figures |= {"MSE": rng.uniform(0.001, 0.02), "structure": rng.uniform(0.01, 0.1)}
        figures |= {"forwards": 210 if method == "ftedit" else 90, "seconds": rng.uniform(3, 9)}
        figures |= {"memory": 1200.0}
        if edit.category == 9:
            figures["PSNR"] = figures["SSIM"] = figures["MSE"] = None
        elif method == "firm" and rng.random() < 0.1:
            figures["PSNR"] = float("inf")
        if pictures:
            save_png(_picture(edit, success, rng), folder / method / f"{case}.png")
    image = None if broken or not pictures else f"{case}.png"
    before, after = edit.prompts
    kind = CATEGORIES[edit.category]
    error = ERROR if broken else None
    write_result(folder, method, Result(case, kind, before, after, image, figures, error))


def _picture(edit: SceneEdit, success: bool, rng: random.Random) -> Image.Image:
    picture = render(edit.target if success else edit.source, SIDE)
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
