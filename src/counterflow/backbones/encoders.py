"""Text encoders that are in memory only while prompts are embedded."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from counterflow.backbones.base import Conditioning
from counterflow.errors import InputError
from counterflow.flow import Latent

Read = Callable[[Sequence[str]], Mapping[str, nn.Module]]
"""From a pipeline's folder, its parts of these names."""


def check_untouched(pipeline: Any, path: object) -> None:
    """Raise InputError for a LoRA that text encoders read again would lack."""
    if any(part.startswith("text_encoder") for part in pipeline.get_list_adapters()):
        raise InputError(f"{path} changes text encoders, too: leave --free-text out")


class Freed:
    """Lets go of an adapter's text encoders when a forward begins, and reads them again for the
    next prompt.

    Prompts that are embedded one after another share one reading. What refers to an encoder
    elsewhere keeps it in memory.
    """

    def __init__(self, adapter: Any, read: Read) -> None:
        self.pipeline, self.read = adapter.pipeline, read
        parts = adapter.pipeline.components.items()
        self.names = [
            name
            for name, part in parts
            if name.startswith("text_encoder") and isinstance(part, nn.Module)
        ]
        self.here = True
        self._embed, self._velocity = adapter.embed, adapter.velocity
        adapter.embed, adapter.velocity = self.embed, self.velocity

    def embed(self, prompt: str) -> Conditioning:
        """As the adapter does, with the text encoders in memory."""
        if not self.here:
            self._put(self.read(self.names))
            self.here = True
        embedded: Conditioning = self._embed(prompt)
        return embedded

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """As the adapter does, without them."""
        if self.here:
            self._put(dict.fromkeys(self.names))
            self.here = False
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        velocity: Latent = self._velocity(x, sigma, conditioning)
        return velocity

    def _put(self, parts: Mapping[str, nn.Module | None]) -> None:
        """Past the pipeline's own setter, which would note that it never had these parts."""
        vars(self.pipeline).update(parts)
