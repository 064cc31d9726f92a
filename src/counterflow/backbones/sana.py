"""Sana: image tokens with linear attention among themselves, and a prompt that they look up.

No joint attention, and no modulated text: of the text, the keys and values of cross-attention are
open. Gemma 2 reads an instruction before the prompt, which is lowered and stripped; of that its
first and last token stay. The unconditional prompt has none. Time is 1000·sigma, scaled; the
prediction is `noise - image`. A latent cell, which is a token, is of 32×32 pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from diffusers import SanaPipeline
from torch import nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import ATTENTION, Block, Conditioning, Site
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import Segment, padded, tokenize_inside, unknown_words

LENGTH = 300
"""Most rows of text that the pipeline uses by default."""


class Sana(PipelineAdapter):
    """Adapter over a loaded `SanaPipeline`."""

    family = "sana"
    even = False

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        config = self.transformer.config
        self.multiple = self.factor * int(config.patch_size)
        self.area = (int(config.sample_size) * self.factor) ** 2
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))
        asked = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
        self.instruction: list[str] = asked.default

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        features, mask, *_ = self.pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=self.length,
            complex_human_instruction=self.instruction if prompt else None,
        )
        tensors = {
            "encoder_hidden_states": features.to(self.dtype),
            "encoder_attention_mask": mask.bool(),
        }
        unknown = unknown_words(prompt, self.words)
        segment, attended = self._segment(prompt), int(mask.sum())
        return Conditioning(prompt, tensors, (segment,), self.length, unknown, attended)

    def _segment(self, prompt: str) -> Segment:
        """The rows that the pipeline keeps: the first, and the last but one of `length`."""
        tokenizer = self.pipeline.tokenizer
        before = "\n".join(self.instruction) if prompt else ""
        length = len(tokenizer(before)["input_ids"]) + self.length - 2 if prompt else self.length
        plain = prompt.lower().strip()
        whole = tokenize_inside(tokenizer, plain, before + "{}", "gemma", length)
        whole = padded(whole, tokenizer, length)
        kept = [0, *range(length - self.length + 1, length)]
        start = len(prompt) - len(prompt.lstrip())
        spans = [(whole.offsets[n], whole.kinds[n] == "content") for n in kept]
        return replace(
            whole,
            ids=tuple(whole.ids[n] for n in kept),
            offsets=tuple((a + start, b + start) if said else (0, 0) for (a, b), said in spans),
            kinds=tuple(whole.kinds[n] for n in kept),
        )

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        time = torch.full((len(x),), 1000 * sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(
            x.to(self.device, self.dtype),
            timestep=time * self.transformer.config.timestep_scale,
            return_dict=False,
            **told,
        )[0]
        return out[:, : x.shape[1]].float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time; blocks add tables of their own to that."""
        names = ("time_embed", "caption_projection", "caption_norm")
        return [(self.transformer, name) for name in names]

    def sites(self) -> list[Site]:
        """q, k and v of self-attention for the image, k and v of cross-attention for the text."""
        sites = []
        for n, block in enumerate(self.transformer.transformer_blocks):
            for part in ATTENTION:
                sites.append(Site("image", part, n, getattr(block.attn1, f"to_{part}")))
                if part != "q":
                    sites.append(Site("text", part, n, getattr(block.attn2, f"to_{part}")))
        return sites

    def blocks(self) -> list[Block]:
        """Each puts out the image's stream; the text's is the same for all."""
        return [Block(module, mmdit.stream) for module in self.transformer.transformer_blocks]
