"""Qwen-Image 2.1: one stream of text, then image, of which text never sees the image.

Text is Qwen3-VL's, the prompt in a template of which the beginning is left out. Each text token
sees those before it, modulated as at time 0; the image sees all. Time is sigma, the prediction is
`noise - image`. Latents are those of a picture with transparency, here opaque, 16 pixels a cell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, OpaqueAutoencoder
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.hooks import changed
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, unknown_words

LENGTH = 512
"""Most rows of text; the pipeline has no bound."""


class QwenImage21(PipelineAdapter):
    """Adapter over a loaded `QwenImage21Pipeline`."""

    family = "qwen-image-2.1"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.tokenizer = pipeline.processor.tokenizer
        self.length = min(LENGTH, int(self.tokenizer.model_max_length))

    @property
    def token(self) -> int:
        """A token is a cell."""
        return self.factor

    def _autoencoder(self) -> Autoencoder:
        return OpaqueAutoencoder(self.vae, self.device)

    def levels(self, steps: int) -> Sequence[float] | None:
        """Those of the model's makers, for as many steps as they have chosen."""
        own = self.pipeline.config.get("sample_sigmas", None) or ()
        return own if len(own) == steps else super().levels(steps)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does, filled up to the length of the text stream."""
        pipe, read = self.pipeline, prompt or " "  # as the pipeline reads it
        embeds, *_ = pipe.encode_prompt(read, device=self.device)
        words = embeds[:, : self.length].to(self.dtype)
        features, valid = mmdit.filled(words, self.length)
        tensors = {"encoder_hidden_states": features, "encoder_hidden_states_mask": valid}
        template, dropped = pipe.prompt_template_t2i, int(pipe._drop_idx)
        most = dropped + self.length
        segment = tokenize_inside(self.tokenizer, read, template, "qwen", most, dropped)
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), self.length, unknown, words.shape[1])

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._frames, image = [(1, *x.shape[2:])], x[0, 0].numel()
        slots = torch.arange(self.length + image // 4, device=self.device) >= self.length
        with self._placed(told["encoder_hidden_states_mask"].sum(1)):
            out = self.transformer(
                hidden_states=x.to(self.device, self.dtype).flatten(2).mT,
                timestep=torch.full((len(x),), sigma, device=self.device, dtype=torch.float32),
                img_shapes=[self._frames] * len(x),
                img_mask=slots.expand(len(x), -1),
                return_dict=False,
                **told,
            )[0]
        return out[:, -image:].float().mT.reshape(x.shape)  # type: ignore[no-any-return]

    def _placed(self, texts: Tensor) -> AbstractContextManager[None]:
        """Inside, an image stands after its own prompt's last token, not after the padding: the
        model has one place for a batch, so queries and keys are turned back, on the first axis.
        """
        freqs = self.transformer.pos_embed.freqs[0].to(self.device)
        self._back = back = freqs[texts - self.length][:, None, None]
        start, attentions = self.length, [each.attn for each in self.transformer.transformer_blocks]
        return changed(
            [norm for each in attentions for norm in (each.norm_q, each.norm_k)],
            lambda heads: torch.cat([heads[:, :start], mmdit.turned(heads[:, start:], back)], 1),
        )

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and all modulation."""
        net, names = self.transformer, ("txt_in", "time_text_embed", "modulation")
        return [*((net, name) for name in names), (net.norm_out, "linear")]

    def sites(self) -> list[Site]:
        """Of every block. Features after the norm stand for the modulated ones: they are scaled
        all alike. q and k are compared as the last forward's first row turns them.
        """
        blocks = self.transformer.transformer_blocks
        normed = [(block.img_norm1, block.attn) for block in blocks]
        return mmdit.stream_sites(normed, self._rows, self._turned)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        _, height, width = self._frames[0]
        image = torch.arange(self.length + height * width, device=heads.device) >= self.length
        turns = self.transformer.pos_embed(self._frames, image, heads.device)
        turned = mmdit.turned(heads, turns[self._rows(stream)])
        return turned if stream == "text" else mmdit.turned(turned, self._back[0])

    def blocks(self) -> list[Block]:
        """Each puts out one stream of both."""
        return [Block(module, mmdit.stream) for module in self.transformer.transformer_blocks]
