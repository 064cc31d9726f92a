"""Gradio's components as this page needs them: a picture's file goes to our own reader, unread."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

import gradio as gr
import numpy as np
from gradio_client.utils import is_http_url_like
from jaxtyping import Bool
from PIL import Image

from counterflow import images

FORMS = ("PNG", "WEBP")
"""In which the browser sends what was painted."""
MOST_BLOBS = 16
PAINT = "#e11d8f"


def given_only(component: Any) -> Any:
    """Let a component take files that were given to this page, and fetch none from an address."""
    moved = component.async_move_resource_to_block_cache

    async def move(url_or_file_path: Any) -> Any:
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Give the picture itself, not an address.", print_exception=False)
        return await moved(url_or_file_path)

    component.async_move_resource_to_block_cache = move
    return component


def picture(**given: Any) -> Any:
    """A picture that is handed on as the path of its file; `counterflow.images.load` reads it.

    Nothing of it is decoded before. (Gradio's methods are exchanged here and below, as a class of
    ours would make it write a file beside its source.)
    """
    component = gr.Image(type="filepath", format="png", **given)
    component.preprocess = lambda payload: None if payload is None else payload.path
    return given_only(component)


def painter(**given: Any) -> Any:
    """A picture that is painted on; handed on is where, as bool `[height, width]`, or None."""
    component = gr.ImageEditor(
        type="pil",
        image_mode="RGBA",
        format="png",
        brush=gr.Brush(colors=[PAINT], default_color=PAINT, color_mode="fixed"),
        layers=gr.LayerOptions(allow_additional_layers=False, disabled=True),
        sources=(),
        transforms=(),
        **given,
    )
    component.blob_storage = Few()
    component.preprocess = lambda payload: strokes(component, payload)
    return given_only(component)


def strokes(component: Any, payload: Any) -> Bool[np.ndarray, "height width"] | None:
    """Where any layer of a painter has paint; None where there is none."""
    if payload is None:
        return None
    sent = payload if payload.id is None else component.blob_storage.pop(payload.id, None)
    layers = [] if sent is None else [each for each in sent.layers if each is not None]
    masks = [painted(each if isinstance(each, bytes) else each.path) for each in layers]
    masks = [each for each in masks if each.shape == masks[0].shape]
    return np.logical_or.reduce(masks) if masks and np.any(masks) else None


class Few(OrderedDict[Any, Any]):
    """A dictionary of the last `MOST_BLOBS` entries: Gradio lets what nobody takes lie for ever."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > MOST_BLOBS:
            self.popitem(last=False)


def painted(file: bytes | str) -> Bool[np.ndarray, "height width"]:
    """Where a layer of the painter has paint; refused by its size before it is decoded."""
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMS) as im:
            if im.width * im.height > images.MAX_PIXELS:
                raise gr.Error("The painted mask is too large.", print_exception=False)
            return np.asarray(im.convert("RGBA").getchannel("A")) >= 128
    except OSError:
        raise gr.Error("The painted mask cannot be read.", print_exception=False) from None
