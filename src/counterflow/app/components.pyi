"""Gradio's components as this page needs them: a picture's file goes to our own reader, unread."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

class Uploads:
    """Takes files that were given to this page, and fetches none from an address."""

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        """Gradio's, less its download of addresses that a visitor names."""
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Give the picture itself, not an address.", print_exception=False)
        moved: str | None = await super().async_move_resource_to_block_cache(  # type: ignore[misc]
            url_or_file_path
        )
        return moved

class Picture(Uploads, gr.Image):  # type: ignore[misc]
    """A picture that is handed on as the path of its file; `counterflow.images.load` reads it."""

    def get_block_name(self) -> str:
        """Drawn by the browser as Gradio's own."""
        return "image"

    def preprocess(self, payload: Any) -> str | None:
        """The file's path, before anything of it is decoded."""
        return None if payload is None else payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
