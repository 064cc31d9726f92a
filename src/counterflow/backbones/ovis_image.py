"""Ovis-Image: FLUX.1's blocks, and Qwen3's text in a chat's template.

The template's first tokens are left out; padding is zeros that the blocks see like words. Time is
sigma and alone modulates, the prediction is `noise - image`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from counterflow.backbones import mmdit
from counterflow.backbones.base import Conditioning
from counterflow.backbones.flux import Flux
from counterflow.prompts import padded, tokenize_inside, unknown_words

LENGTH = 256
"""Most rows of text that the pipeline takes."""


class OvisImage(Flux):
    """Adapter over a loaded `OvisImagePipeline`."""

    family = "ovis-image"
    embedders = ("context_embedder_norm", "context_embedder", "timestep_embedder")

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer

    def _longest_text(self) -> int:
        return LENGTH

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        pipe = self.pipeline
        embeds, *_ = pipe.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=self.length,
        )
        template = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": pipe.system_prompt + "{}"}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        dropped = int(pipe.user_prompt_begin_id)
        length = dropped + self.length
        segment = tokenize_inside(self.tokenizer, prompt, template, "qwen", length, dropped)
        segment = padded(segment, self.tokenizer, self.length)
        tensors = {"encoder_hidden_states": embeds.to(self.dtype)}
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), self.length, unknown)

    def _positions(self, height: int, width: int) -> Tensor:
        """Text is on the diagonal of the image's grid."""
        return mmdit.places(self.length, height, width, self.device, counted=True)
