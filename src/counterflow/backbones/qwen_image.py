"""Qwen-Image: the prompt in Qwen2.5-VL's template, of which the beginning is left out.

Text is masked where a prompt is shorter than the stream. Time is sigma and alone modulates, the
prediction is `noise - image`. Guided velocities are rescaled, token by token. Latents are those of
a video of one frame, each channel with its own mean and spread.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, FrameAutoencoder
from counterflow.backbones.base import Block, Conditioning, Guidance, Site, Stream
from counterflow.backbones.guidance import Rescaled
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, unknown_words

LENGTH = 512
"""Most rows of text that the pipeline uses by default."""


class QwenImage(PipelineAdapter):
    """Adapter over a loaded `QwenImagePipeline`."""

    family = "qwen-image"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))

    def _autoencoder(self) -> Autoencoder:
        return FrameAutoencoder(self.vae, self.device)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does, filled up to the length of the text stream."""
        pipe = self.pipeline
        embeds, _ = pipe.encode_prompt(prompt, self.device, max_sequence_length=self.length)
        features, valid = mmdit.filled(embeds.to(self.dtype), self.length)
        tensors = {"encoder_hidden_states": features, "encoder_hidden_states_mask": valid}
        dropped = int(pipe.prompt_template_encode_start_idx)
        segment = tokenize_inside(
            pipe.tokenizer,
            prompt,
            pipe.prompt_template_encode,
            "qwen",
            dropped + self.length,
            dropped,
        )
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), self.length, unknown, embeds.shape[1])

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._frames = [(1, x.shape[2] // 2, x.shape[3] // 2)]
        out = self.transformer(
            hidden_states=mmdit.pack(x.to(self.device, self.dtype)),
            timestep=torch.full((len(x),), sigma, device=self.device, dtype=torch.float32),
            img_shapes=[self._frames] * len(x),
            return_dict=False,
            **told,
        )[0]
        return mmdit.unpack(out.float(), x)

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and every block's modulation."""
        net = self.transformer
        modules = [(net, "txt_in"), (net, "time_text_embed"), (net.norm_out, "linear")]
        blocks = net.transformer_blocks
        return modules + [(block, name) for block in blocks for name in ("img_mod", "txt_mod")]

    def guidance(self, scale: float) -> Guidance:
        """Classifier-free, then rescaled."""
        return Rescaled(scale)

    def sites(self) -> list[Site]:
        """Of every block. Features after the text's norm stand for the modulated ones: time alone
        scales and shifts them, and all rows alike.
        """
        blocks = enumerate(self.transformer.transformer_blocks)
        return [
            site
            for n, block in blocks
            for site in mmdit.joint_sites(n, block.txt_norm1, block.attn, self._turned)
        ]

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        embedder = self.transformer.pos_embed
        image, text = embedder(self._frames, heads.device, self.length)
        return mmdit.turned(heads, image if stream == "image" else text)

    def blocks(self) -> list[Block]:
        """Text and image streams in, both out in that order."""
        return [Block(module, mmdit.streams) for module in self.transformer.transformer_blocks]
