"""Chroma: FLUX.1 without CLIP and guidance of its own, and with a mask over its text.

The text is T5's: the prompt with its end and one padding token are attended to, the rest is masked.
The pipeline hands its mask over as numbers, which attention adds instead of masking by them
(diffusers issue 12116); here it is one of truth values, as the model was trained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning
from counterflow.backbones.flux import Flux
from counterflow.flow import Latent


class Chroma(Flux):
    """Adapter over a loaded `ChromaPipeline`."""

    family = "chroma"

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer

    def _longest_text(self) -> int:
        return 512

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What the tokenizer cuts off is in `Conditioning.cut`."""
        embeds, _, mask, *_ = self.pipeline.encode_prompt(
            prompt,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.length,
        )
        tensors = {"encoder_hidden_states": embeds.to(self.dtype), "attention_mask": mask.bool()}
        return replace(self._conditioning(prompt, tensors), attended=int(mask.sum()))

    def told(self, x: Latent, sigma: float, conditioning: Conditioning) -> dict[str, Tensor]:
        """The mask is of all tokens."""
        told = super().told(x, sigma, conditioning)
        image = x.shape[2] * x.shape[3] // 4
        return told | {
            "attention_mask": nn.functional.pad(told["attention_mask"], (0, image), value=1)
        }

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embedding of the prompt, and all modulation at once."""
        names = ("context_embedder", "time_text_embed", "distilled_guidance_layer")
        return [(self.transformer, name) for name in names]

    def blocks(self) -> list[Block]:
        """Double blocks, then single ones, which are given one stream of both."""
        return mmdit.blocks(*self._blocks())
