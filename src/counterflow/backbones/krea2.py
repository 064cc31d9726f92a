"""Krea 2: one stream of text, then image; the text is Qwen3-VL's, from several of its layers.

A small transformer of the model's own merges the layers and the prompt's tokens. Padding, which the
pipeline has before the template's end, is masked; as no text token has a place, here it comes last.
Time is sigma and alone modulates, the prediction is `noise - image`. Our guidance is by 1 more than
the pipeline's, whose 0 is the prompt alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, FrameAutoencoder
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import Segment, extended, tokenize_inside, unknown_words

LENGTH = 512
"""Most rows of text that the pipeline uses by default."""
DISTILLED_SHIFT = 1.15
"""The pipeline's shift of the distilled model's noise levels, whatever the picture's size."""


class Krea2(PipelineAdapter):
    """Adapter over a loaded `Krea2Pipeline`."""

    family = "krea-2"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))

    def _autoencoder(self) -> Autoencoder:
        return FrameAutoencoder(self.vae, self.device)

    def _few_steps(self) -> int | None:
        """Its configuration says whether it is distilled."""
        return 8 if self.pipeline.config.is_distilled else super()._few_steps()

    def shift(self, steps: int, tokens: int) -> float | None:
        """By the picture's size, but not of the distilled model."""
        return DISTILLED_SHIFT if self.pipeline.config.is_distilled else None

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does, padding last. What is cut off is in `Conditioning.cut`."""
        embeds, mask = self.pipeline.encode_prompt(
            prompt, device=self.device, max_sequence_length=self.length
        )
        words = embeds[:, mask[0]].to(self.dtype)
        features, valid = mmdit.filled(words, self.length)
        tensors = {"encoder_hidden_states": features, "encoder_attention_mask": valid}
        unknown = unknown_words(prompt, self.words)
        segments = (self._segment(prompt),)
        return Conditioning(prompt, tensors, segments, self.length, unknown, words.shape[1])

    def _segment(self, prompt: str) -> Segment:
        """The template's end is there whatever is cut off before it."""
        pipe = self.pipeline
        dropped = int(pipe.prompt_template_encode_start_idx)
        most = dropped + self.length - int(pipe.prompt_template_encode_num_suffix_tokens)
        template = pipe.prompt_template_encode_prefix + "{}"
        segment = tokenize_inside(pipe.tokenizer, prompt, template, "qwen", most, dropped)
        ending = pipe.tokenizer(pipe.prompt_template_encode_suffix)["input_ids"]
        return extended(segment, ending, "end")

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._places = mmdit.places(self.length, x.shape[2] // 2, x.shape[3] // 2, self.device)
        out = self.transformer(
            hidden_states=mmdit.pack(x.to(self.device, self.dtype)),
            timestep=torch.full((len(x),), sigma, device=self.device, dtype=torch.float32),
            position_ids=self._places,
            return_dict=False,
            **told,
        )[0]
        return mmdit.unpack(out.float(), x)

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """All that is done to the prompt alone, and the modulation, which all blocks share."""
        names = ("text_fusion", "txt_in", "time_embed", "time_mod_proj")
        return [(self.transformer, name) for name in names]

    def sites(self) -> list[Site]:
        """Of every block. Features after the norm stand for the modulated ones: time alone scales
        and shifts them, and all rows alike.
        """
        blocks = self.transformer.transformer_blocks
        normed = [(block.norm1, block.attn) for block in blocks]
        return mmdit.stream_sites(normed, self._rows, self._turned)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        turns = self.transformer.rotary_emb(self._places[self._rows(stream)])
        return apply_rotary_emb(heads, turns, sequence_dim=2)  # type: ignore[no-any-return]

    def blocks(self) -> list[Block]:
        """Each puts out one stream of both."""
        return [Block(module, mmdit.stream) for module in self.transformer.transformer_blocks]
