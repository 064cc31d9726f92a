"""Lumina-Image 2.0: one stream of a prompt's tokens, from Gemma 2, then image tokens.

The prompt stands after a system message; the unconditional one is the empty text alone. Padding is
no part of the stream: in a batch image tokens begin where their own prompt ends, and so do their
positions. Time is 1 - sigma, the prediction `image - noise`; guided velocities are rescaled, row
by row.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning, Guidance, Site, Stream
from counterflow.backbones.guidance import RescaledRows
from counterflow.backbones.pipelines import PipelineAdapter, quiet
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, unknown_words

LENGTH = 256
"""Most tokens of a prompt with its system message, as the pipeline has it by default."""


class Lumina2(PipelineAdapter):
    """Adapter over a loaded `Lumina2Pipeline`."""

    family = "lumina2"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))
        self.longest = min(self.longest, int(self.transformer.config.axes_lens[1]) * self.multiple)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        pipe = self.pipeline
        with quiet("diffusers.pipelines.lumina2"):  # it warns of cut prompts
            words, seen, empty, nothing = pipe.encode_prompt(
                prompt, not prompt, device=self.device, max_sequence_length=self.length
            )
        features, mask = (words, seen) if prompt else (empty, nothing)
        tensors = {
            "encoder_hidden_states": features.to(self.dtype),
            "encoder_attention_mask": mask.bool(),
        }
        template = pipe.system_prompt + " <Prompt Start> {}" if prompt else "{}"
        segment = tokenize_inside(pipe.tokenizer, prompt, template, "gemma", self.length)
        unknown = unknown_words(prompt, self.words)
        attended = int(mask.sum())
        return Conditioning(prompt, tensors, (segment,), self.length, unknown, attended)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._size = (x.shape[2] // 2, x.shape[3] // 2)
        self._text = told["encoder_attention_mask"].sum(1).tolist()
        out = self.transformer(
            x.to(self.device, self.dtype),
            torch.full((len(x),), 1 - sigma, device=self.device, dtype=torch.float32),
            return_dict=False,
            **told,
        )[0]
        return -out.float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """All that is done to the prompt alone, and every block's modulation."""
        net = self.transformer
        modules: list[tuple[nn.Module, str]] = [(net, "time_caption_embed")]
        modules += [(net.context_refiner, str(n)) for n in range(len(net.context_refiner))]
        modulated = [block.norm1 for block in (*net.noise_refiner, *net.layers)]
        return [*modules, *((norm, "linear") for norm in modulated), (net.norm_out, "linear_1")]

    def guidance(self, scale: float) -> Guidance:
        """Classifier-free, then rescaled."""
        return RescaledRows(scale)

    def sites(self) -> list[Site]:
        """Of the layers that see prompt and image together.

        q and k are compared as the last forward's first row turns them.
        """
        normed = [(layer.norm1, layer.attn) for layer in self.transformer.layers]
        return mmdit.stream_sites(normed, self._rows, self._turned, self.length)

    def _rows(self, stream: Stream) -> list[slice]:
        image = self._size[0] * self._size[1]
        return [slice(n) if stream == "text" else slice(n, n + image) for n in self._text]

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        text = self._text[0]
        positions = mmdit.places(self.length, *self._size, heads.device).int()
        positions[: self.length, 0] = torch.arange(self.length)
        positions[self.length :, 0] = text
        own = positions[: self.length] if stream == "text" else positions[self.length :]
        return mmdit.turned(heads, self.transformer.rope_embedder._get_freqs_cis(own[None])[0])

    def blocks(self) -> list[Block]:
        """The same layers; each puts out one stream of both."""
        return [Block(module, mmdit.stream) for module in self.transformer.layers]
