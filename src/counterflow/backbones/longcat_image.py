"""LongCat-Image: FLUX.1's blocks, and Qwen2.5-VL's text in their stream.

The encoder reads the prompt, its padding and a template around both; prompt and padding are the
text stream, unmasked. What is in quotation marks is read letter by letter. Time is sigma, the
prediction is `noise - image`; guided velocities are never longer than conditional ones. The
pipeline has the prompt rewritten first, unless told not to; here it never is.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from diffusers.pipelines.longcat_image.pipeline_longcat_image import split_quotation
from torch import Tensor

from counterflow.backbones import mmdit
from counterflow.backbones.base import Conditioning, Guidance
from counterflow.backbones.flux import Flux
from counterflow.backbones.guidance import Rescaled
from counterflow.prompts import Kind, Segment, padded, unknown_words

APOSTROPHE = re.compile(r"(?<=[a-zA-Z])'(?=[a-zA-Z])")
"""Inside of a word; it quotes nothing."""


class LongCatImage(Flux):
    """Adapter over a loaded `LongCatImagePipeline`."""

    family = "longcat-image"
    embedders = ("context_embedder", "time_embed")

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer

    def _longest_text(self) -> int:
        return int(self.pipeline.tokenizer_max_length)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        segment = self._segment(prompt)
        before, after = (
            self.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (
                self.pipeline.prompt_template_encode_prefix,
                self.pipeline.prompt_template_encode_suffix,
            )
        )
        seen = [kind != "pad" for kind in segment.kinds]
        mask = [True] * len(before) + seen + [True] * len(after)
        states = self.pipeline.text_encoder(
            input_ids=torch.tensor([[*before, *segment.ids, *after]], device=self.device),
            attention_mask=torch.tensor([mask], device=self.device).long(),
            output_hidden_states=True,
        ).hidden_states[-1]
        embeds = states[:, len(before) : len(before) + self.length]
        tensors = {"encoder_hidden_states": embeds.to(self.dtype)}
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), self.length, unknown)

    def _segment(self, prompt: str) -> Segment:
        """Of parts that are tokenised each by itself. (Apostrophes are hidden from the pipeline's
        split, which mixes two different contractions up.)
        """
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        start = 0
        for part, quoted in split_quotation(APOSTROPHE.sub("\0", prompt)):
            stop = start + len(part)
            ends = [*range(start + 1, stop), stop] if quoted else [stop]
            for end in ends:
                code = self.tokenizer(
                    prompt[start:end], add_special_tokens=False, return_offsets_mapping=True
                )
                ids += code["input_ids"]
                offsets += [(start + low, start + high) for low, high in code["offset_mapping"]]
                start = end
        kept = min(len(ids), self.length)
        cut = prompt[offsets[kept][0] :].strip() if kept < len(ids) else ""
        content: Kind = "content"
        kinds = (content,) * kept
        whole = Segment("qwen", 0, tuple(ids[:kept]), tuple(offsets[:kept]), kinds, cut)
        return padded(whole, self.tokenizer, self.length)

    def _positions(self, height: int, width: int) -> Tensor:
        """Text is on the diagonal, and the image after it in another plane."""
        positions = mmdit.places(self.length, height, width, self.device, counted=True)
        positions[self.length :] += torch.tensor([1, self.length, self.length], device=self.device)
        return positions

    def guidance(self, scale: float) -> Guidance:
        """Classifier-free, then shortened."""
        return Rescaled(scale, longest=1.0)
