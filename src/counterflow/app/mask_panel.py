"""Where a picture may change: the whole of it, where a mask is found, or where one is painted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from counterflow import images
from counterflow.app.components import Painter, Upload
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

    def options(self, picture: Path, laid: np.ndarray | None = None) -> dict[str, Any]:
        """The options of a `Job` whose picture lies, in a folder of its own, at a path.

        A painted mask is written beside that folder. `laid` is a mask that was put under the brush:
        it is taken as it is where nothing was painted since. InputError for a mask without paint.
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
        if laid is None or laid.shape != size[::-1] or (framed(laid) != self.painted).any():
            laid = unframed(self.painted, size)
        file = picture.parent.with_name("mask.png")
        Image.fromarray(laid).save(file)
        return {"mask": file, **more}


@dataclass
class MaskPanel:
    """The components of the panel, and the accordion that it is in."""

    fold: Any
    how: Any
    group: Any
    painter: Any
    find: Any
    give: Any
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


def needed(panel: MaskPanel, how: str) -> dict[Any, Any]:
    """Updates that show the panel for a method that needs a mask, as nothing may change else."""
    return {panel.fold: gr.update(open=True), panel.how: PAINTED if how == EVERYWHERE else how}


def build(fold: Any) -> MaskPanel:
    """Draw the panel in an accordion."""
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
        with gr.Row():
            find = gr.Button("Find where they differ, and paint on", size="sm", elem_id="cf-find")
            give = Upload(
                "Take a mask file: white where the picture may change",
                size="sm",
                file_types=[".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"],
                elem_id="cf-give-mask",
            )
    with gr.Row(visible=False, elem_classes="cf-numbers") as shape:
        grow, feather = _pixels("grow"), _pixels("feather")
        exact = gr.Checkbox(
            label="outside, keep the picture's own pixels", min_width=160, elem_id="cf-exact"
        )
    return MaskPanel(fold, how, group, paint, find, give, shape, grow, feather, exact)


def _pixels(name: str) -> Any:
    return gr.Number(
        0,
        label=f"{name}, pixels",
        precision=0,
        minimum=0,
        maximum=1000,
        min_width=110,
        elem_id=f"cf-{name}",
    )


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
        layer.paste(PAINT, None, Image.fromarray(framed(mask)))
        layers.append(layer)
    return {"background": ground, "layers": layers, "composite": None}


def framed(mask: np.ndarray) -> np.ndarray:
    """A mask, bool `[height, width]` at its picture's size, as paint on the square."""
    left, top, right, bottom = frame(mask.shape[::-1])
    shape = Image.fromarray(mask).convert("L")
    square = Image.new("L", (SIDE, SIDE))
    square.paste(shape.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    return np.asarray(square) >= 128


def unframed(painted: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What is painted on the square, bool, as a mask `[height, width]` of a picture's size.

    InputError where nothing of the picture is painted.
    """
    layer = Image.fromarray(painted).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)
    mask = np.asarray(layer.crop(frame(size)).resize(size, Image.Resampling.BOX)) >= 128
    if not mask.any():
        raise InputError("Nothing is painted yet: paint where the picture may change.")
    if mask.all():
        raise InputError(f"All of the picture is painted: leave some out, or choose {EVERYWHERE}.")
    return mask
