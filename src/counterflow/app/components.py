"""Gradio's components as this page needs them: a picture's file goes to our own reader, unread."""

from __future__ import annotations

import io
from abc import ABCMeta
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


def kind(base: Any, **members: Any) -> Any:
    """A component as `base`, by whose name the browser draws it, with members of ours.

    It is made past Gradio's metaclass, which writes a stub file beside the source of every class.
    """
    return ABCMeta.__new__(type(base), base.__name__, (base,), {"__module__": __name__} | members)


def given_only(base: Any) -> Any:
    """A component's way to take in a file, for files that were given to this page.

    None is fetched from an address that a visitor names.
    """

    async def move(self: Any, url_or_file_path: Any) -> Any:
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Give the picture itself, not an address.", print_exception=False)
        return await base.async_move_resource_to_block_cache(self, url_or_file_path)

    return move


class Few(OrderedDict[Any, Any]):
    """A dictionary of the last `MOST_BLOBS` entries: Gradio lets what nobody takes lie for ever."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > MOST_BLOBS:
            self.popitem(last=False)


def strokes(component: Any, payload: Any) -> Bool[np.ndarray, "height width"] | None:
    """Where any layer of a painter has paint; None where there is none."""
    if payload is None:
        return None
    sent = payload if payload.id is None else component.blob_storage.pop(payload.id, None)
    layers = [] if sent is None else [each for each in sent.layers if each is not None]
    masks = [painted(each if isinstance(each, bytes) else each.path) for each in layers]
    masks = [each for each in masks if each.shape == masks[0].shape]
    return np.logical_or.reduce(masks) if masks and np.any(masks) else None


def painted(file: bytes | str) -> Bool[np.ndarray, "height width"]:
    """Where a layer of the painter has paint; refused by its size before it is decoded."""
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMS) as im:
            if im.width * im.height > images.MAX_PIXELS:
                raise gr.Error("The painted mask is too large.", print_exception=False)
            return np.asarray(im.convert("RGBA").getchannel("A")) >= 128
    except OSError:
        raise gr.Error("The painted mask cannot be read.", print_exception=False) from None


SENT = Few()
"""What browsers have sent of painted masks and no event has taken yet."""

Picture = kind(
    gr.Image,
    async_move_resource_to_block_cache=given_only(gr.Image),
    preprocess=lambda self, payload: None if payload is None else payload.path,
)
"""A picture that is handed on as the path of its file, of which nothing is decoded before."""

Upload = kind(
    gr.UploadButton,
    async_move_resource_to_block_cache=given_only(gr.UploadButton),
    preprocess=lambda self, payload: None if payload is None else payload.path,
)
"""A button that takes a file, which is handed on as its path."""

Painter = kind(
    gr.ImageEditor,
    async_move_resource_to_block_cache=given_only(gr.ImageEditor),
    preprocess=strokes,
    blob_storage=property(lambda self: SENT, lambda self, value: None),
)
"""A picture that is painted on; handed on is where, as bool `[height, width]`, or None."""
