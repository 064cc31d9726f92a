"""Stable Diffusion 3 and 3.5 (and the bundled toybox model, which is one).

The text stream is `[CLIP-L ‖ CLIP-G on the same rows, then T5]`, unmasked. The model takes
time as 1000·sigma and predicts `noise - image`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from counterflow.backbones.base import Block, Conditioning, Site
from counterflow.backbones.mmdit import joint_sites, modulations, streams
from counterflow.backbones.pipelines import PipelineAdapter, quiet
from counterflow.flow import Latent
from counterflow.prompts import Segment, tokenize, unknown_words

T5_LENGTH = 256
"""Most T5 tokens that the pipeline uses by default; fewer where the tokenizer says so."""


class SD3(PipelineAdapter):
    """Adapter over a loaded `StableDiffusion3Pipeline`."""

    family = "sd3"
    even = False

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.multiple = self.factor * int(self.transformer.config.patch_size)
        self.area = (int(self.transformer.config.sample_size) * self.factor) ** 2
        self.longest = int(self.transformer.config.pos_embed_max_size) * self.multiple
        self.length = T5_LENGTH
        if pipeline.tokenizer_3 is not None:
            self.length = min(T5_LENGTH, pipeline.tokenizer_3.model_max_length)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What a tokenizer cuts off is in `Conditioning.cut`."""
        with quiet("diffusers.pipelines.stable_diffusion_3"):  # it warns of cut prompts
            embeds, _, pooled, _ = self.pipeline.encode_prompt(
                prompt=prompt,
                prompt_2=None,
                prompt_3=None,
                device=self.device,
                do_classifier_free_guidance=False,
                max_sequence_length=self.length,
            )
        tensors = {
            "encoder_hidden_states": embeds.to(self.dtype),
            "pooled_projections": pooled.to(self.dtype),
        }
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, self._segments(prompt), embeds.shape[1], unknown)

    def _segments(self, prompt: str) -> tuple[Segment, ...]:
        pipe, clip = self.pipeline, int(self.pipeline.tokenizer_max_length)
        segments = [
            tokenize(pipe.tokenizer, prompt, "clip_l", 0, clip),
            tokenize(pipe.tokenizer_2, prompt, "clip_g", 0, clip),
        ]
        if pipe.text_encoder_3 is not None:
            segments.append(tokenize(pipe.tokenizer_3, prompt, "t5", clip, self.length))
        return tuple(segments)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        time = torch.full((len(x),), 1000 * sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype), timestep=time, return_dict=False, **told
        )[0]
        return out.float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """Embeddings, and the modulation of every block and of the end."""
        return modulations(self.transformer)

    def sites(self) -> list[Site]:
        """Modulated text features and the joint attention's projections of every block.

        The last block's `norm1_context` gives a plain tensor, the others a 5-tuple. SD3.5-medium's
        second, image-only attention is left alone: the text never reaches it.
        """
        blocks = enumerate(self.transformer.transformer_blocks)
        return [
            site for n, block in blocks for site in joint_sites(n, block.norm1_context, block.attn)
        ]

    def blocks(self) -> list[Block]:
        """Joint transformer blocks: text and image streams in, both out in the same order."""
        return [Block(module, streams) for module in self.transformer.transformer_blocks]
