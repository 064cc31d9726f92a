"""Where a picture may change: the whole of it, where a mask is found, or where one is painted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from counterflow import images
from counterflow.app.components import PAINT, painter
from counterflow.edit.job import Job
from counterflow.edit.masks import PIXELS
from counterflow.errors import InputError

EVERYWHERE, FOUND, PAINTED = "Everywhere", "Where the sentences differ", "Where I paint"
SMALL = 512
"""A picture whose longer side has fewer pixels is painted on enlarged."""


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
        size = images.load(picture).size
        file = picture.with_name("mask.png")
        Image.fromarray(self.painted).resize(size, Image.Resampling.NEAREST).save(file)
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
        paint = painter(
            label="Paint where the picture may change",
            height=420,
            elem_id="cf-painter",
            buttons=["fullscreen"],
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


def canvas(picture: Image.Image, mask: np.ndarray | None = None) -> dict[str, Any]:
    """The painter's value: a picture to paint on, enlarged if small, and a mask painted already.

    `mask` is bool `[height, width]` at the picture's size.
    """
    scale = max(1, SMALL // max(picture.size))
    size = picture.width * scale, picture.height * scale
    layers = []
    if mask is not None:
        alpha = Image.fromarray(mask).convert("L").resize(size, Image.Resampling.NEAREST)
        layer = Image.new("RGBA", size, PAINT)
        layer.putalpha(alpha)
        layers.append(layer)
    ground = images.resize(picture.convert("RGB"), size)
    return {"background": ground, "layers": layers, "composite": None}
