"""AuraFlow: SD3's kind of blocks, then blocks with one stream of both.

The text stream begins with tokens of the model's own, its registers; then comes UMT5's text, whose
padding is zero and live. No rotary embedding: positions are learned, of a square around the
middle. Time is sigma, the prediction `noise - image`.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isqrt
from typing import Any

import torch
from torch import nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter, quiet
from counterflow.flow import Latent
from counterflow.prompts import tokenize, unknown_words

LENGTH = 256
"""Most tokens of a prompt that the pipeline uses by default."""


class AuraFlow(PipelineAdapter):
    """Adapter over a loaded `AuraFlowPipeline`."""

    family = "aura-flow"
    even = False

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.registers = int(self.transformer.register_tokens.shape[1])
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))
        self.longest = isqrt(int(self.transformer.config.pos_embed_max_size)) * self.multiple
        self.area = min(self.area, self.longest**2)

    def _autoencoder(self) -> Autoencoder:
        """Its decoder overflows in float16."""
        if self.vae.dtype == torch.float16:
            self.vae.to(torch.float32)
        return super()._autoencoder()

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does, after empty rows where the model has its registers. What the
        tokenizer cuts off is in `Conditioning.cut`.
        """
        with quiet("diffusers.pipelines.aura_flow"):  # it warns of cut prompts
            embeds, *_ = self.pipeline.encode_prompt(
                prompt,
                device=self.device,
                do_classifier_free_guidance=False,
                max_sequence_length=self.length,
            )
        text = nn.functional.pad(embeds.to(self.dtype), (0, 0, self.registers, 0))
        segment = tokenize(self.pipeline.tokenizer, prompt, "t5", self.registers, self.length)
        unknown = unknown_words(prompt, self.words)
        tensors = {"encoder_hidden_states": text}
        return Conditioning(prompt, tensors, (segment,), text.shape[1], unknown)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype),
            encoder_hidden_states=told["encoder_hidden_states"][:, self.registers :],
            timestep=torch.full((len(x),), sigma, device=self.device, dtype=torch.float32),
            return_dict=False,
        )[0]
        return out.float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and the modulation of every block and of the end."""
        net = self.transformer
        joint, single = net.joint_transformer_blocks, net.single_transformer_blocks
        norms = [norm for block in joint for norm in (block.norm1, block.norm1_context)]
        norms += [block.norm1 for block in single] + [net.norm_out]
        named = [(net, "context_embedder"), (net, "time_step_proj")]
        return named + [(norm, "linear") for norm in norms]

    def sites(self) -> list[Site]:
        """Of the joint blocks, then of the single ones, whose one stream has text first."""
        joint = self.transformer.joint_transformer_blocks
        sites: list[Site] = []
        for n, block in enumerate(joint):
            sites += mmdit.joint_sites(n, block.norm1_context, block.attn)
        for n, block in enumerate(self.transformer.single_transformer_blocks, len(joint)):
            sites += mmdit.single_sites(n, block.norm1, block.attn, self._rows, mmdit.unturned)
        return sites

    def _rows(self, stream: Stream) -> slice:
        return mmdit.text_first(self.registers + self.length, stream)

    def blocks(self) -> list[Block]:
        """Joint blocks, then single ones, which are given one stream of both."""
        net = self.transformer
        return mmdit.blocks(net.joint_transformer_blocks, net.single_transformer_blocks)
