"""Where a picture may change: the whole of it, where a mask is found, or where one is painted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from counterflow import images
from counterflow.app.components import Painter
from counterflow.edit.job import Job
from counterflow.edit.masks import PIXELS
from counterflow.errors import InputError

EVERYWHERE, FOUND, PAINTED = "Everywhere", "Where the sentences differ", "Where I paint"
PAINT = "#e11d8f"
SIDE = 640
"""Pixels of a side of the square that is painted on, in which the picture lies centred."""


@dataclass(frozen=True)
class Chosen:
    """What the panel says: how the mask comes about, and what is done with it."""

    how: str = EVERYWHERE
    painted: np.ndarray | None = None
    """Bool `[height, width]`, at the painter's size."""
    grow: int = 0
    feather: int = 0
    exact: bool = False

    def options(self, picture: Path) -> dict[str, Any]:
        """The options of a `Job` whose picture lies at a path; a painted mask is written beside it.

        InputError for a mask without paint.
        """
        if self.how not in (FOUND, PAINTED):
            return {}
        shape = {"mask_grow": self.grow, "mask_feather": self.feather}
        more = shape | {"exact_background": self.exact}
        if self.how == FOUND:
            return {"auto_mask": True, **more}
        if self.painted is None:
            raise InputError("Nothing is painted yet: paint where the picture may change.")
        file = picture.with_name("mask.png")
        Image.fromarray(unframed(self.painted, images.load(picture).size)).save(file)
        return {"mask": file, **more}


@dataclass
class MaskPanel:
    """The components of the panel."""

    how: Any
    group: Any
    painter: Any
    find: Any
    shape: Any
    grow: Any
    feather: Any
    exact: Any

    @property
    def inputs(self) -> list[Any]:
        """In the order of `chosen`."""
        return [self.how, self.painter, self.grow, self.feather, self.exact]

    @property
    def settings(self) -> list[Any]:
        """All but the painter."""
        return [self.how, self.grow, self.feather, self.exact]


def shown(panel: MaskPanel, job: Job, masked: bool) -> dict[Any, Any]:
    """Updates that show how a job used a mask; `masked` says whether one was given to it."""
    how = PAINTED if masked else FOUND if job.auto_mask else EVERYWHERE
    shape = {panel.grow: job.mask_grow, panel.feather: job.mask_feather}
    return {panel.how: how, panel.exact: job.exact_background, **shape}


def chosen(how: str, painted: Any, grow: Any, feather: Any, exact: bool) -> Chosen:
    """What the panel's values say; InputError for numbers that a mask does not take."""
    grow, feather = (int(each or 0) for each in (grow, feather))
    PIXELS.check("grow", grow)
    PIXELS.check("feather", feather)
    return Chosen(how, painted, grow, feather, bool(exact))


def build() -> MaskPanel:
    """Draw the panel."""
    how = gr.Radio(
        [EVERYWHERE, FOUND, PAINTED],
        value=EVERYWHERE,
        label="Where the picture may change",
        elem_id="cf-where",
    )
    with gr.Group(visible=False) as group:
        paint = Painter(
            label="Paint where the picture may change",
            type="pil",
            format="png",
            brush=gr.Brush(colors=[PAINT], default_color=PAINT, color_mode="fixed"),
            layers=gr.LayerOptions(allow_additional_layers=False),
            sources=(),
            transforms=(),
            canvas_size=(SIDE, SIDE),
            fixed_canvas=True,
            height=420,
            buttons=["fullscreen"],
            elem_id="cf-painter",
        )
        find = gr.Button("Find where they differ, and paint on", size="sm", elem_id="cf-find")
    with gr.Row(visible=False, elem_classes="cf-numbers") as shape:
        grow = gr.Number(
            0,
            label="grow, pixels",
            precision=0,
            minimum=0,
            maximum=1000,
            min_width=110,
            elem_id="cf-grow",
        )
        feather = gr.Number(
            0,
            label="feather, pixels",
            precision=0,
            minimum=0,
            maximum=1000,
            min_width=110,
            elem_id="cf-feather",
        )
        exact = gr.Checkbox(
            label="outside, keep the picture's own pixels", min_width=160, elem_id="cf-exact"
        )
    return MaskPanel(how, group, paint, find, shape, grow, feather, exact)


def frame(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a picture of a size, (width, height), lies in the square: left, top, right, bottom."""
    scale = SIDE / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    return left, top, left + width, top + height


def canvas(picture: Image.Image, mask: np.ndarray | None = None) -> dict[str, Any]:
    """The painter's value: a picture to paint on, and a mask that is painted already.

    `mask` is bool `[height, width]` at the picture's size.
    """
    left, top, right, bottom = frame(picture.size)
    size = right - left, bottom - top
    ground = Image.new("RGB", (SIDE, SIDE), "#94a3b8")
    ground.paste(images.resize(picture.convert("RGB"), size), (left, top))
    layers = []
    if mask is not None:
        layer = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
        shape = Image.fromarray(mask).convert("L").resize(size, Image.Resampling.NEAREST)
        layer.paste(Image.new("RGBA", size, PAINT), (left, top), shape)
        layers.append(layer)
    return {"background": ground, "layers": layers, "composite": None}


def unframed(painted: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What is painted on the square, bool, as a mask `[height, width]` of a picture's size.

    InputError where nothing of the picture is painted.
    """
    layer = Image.fromarray(painted).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)
    mask = np.asarray(layer.crop(frame(size)).resize(size, Image.Resampling.BOX)) >= 128
    if not mask.any():
        raise InputError("Nothing is painted yet: paint where the picture may change.")
    return mask
