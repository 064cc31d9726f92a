"""HunyuanImage 2.1: the prompt in Qwen2.5-VL's template, and what it quotes, letter by letter.

The text stream is ByT5's quoted text, the prompt, and the padding of both, which is masked. Time
is 1000·sigma, the prediction is `noise - image`. A token is one cell of 32×32 pixels. Guidance is
classifier-free; the pipeline's own adds, after six steps, a memory of steps before (docs/decisions/
0022-families.md).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.errors import ModelError
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, tokenize_quotations, unknown_words


class HunyuanImage(PipelineAdapter):
    """Adapter over a loaded `HunyuanImagePipeline`."""

    family = "hunyuan-image"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        config = self.transformer.config
        if config.use_meanflow or config.guidance_embeds:
            raise ModelError(
                "this HunyuanImage was distilled to mean velocities over a step, which no method "
                "here can invert; take the model that was not distilled"
            )
        self.multiple = self.factor * int(config.patch_size[0])
        self.area = 2048**2
        self.length = int(pipeline.tokenizer_max_length)
        self.rows = self.length + int(pipeline.tokenizer_2_max_length)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        pipe = self.pipeline
        words, seen, quoted, letters = pipe.encode_prompt(prompt, device=self.device)
        tensors = {
            "encoder_hidden_states": words.to(self.dtype),
            "encoder_attention_mask": seen.bool(),
            "encoder_hidden_states_2": quoted.to(self.dtype),
            "encoder_attention_mask_2": letters.bool(),
        }
        dropped = int(pipe.prompt_template_encode_start_idx)
        glyphs = tokenize_quotations(pipe.tokenizer_2, prompt, "byt5", self.rows - self.length)
        segment = tokenize_inside(
            pipe.tokenizer,
            prompt,
            pipe.prompt_template_encode,
            "qwen",
            dropped + self.length,
            dropped,
            first=len(glyphs.ids),
        )
        unknown = unknown_words(prompt, self.words)
        return Conditioning(
            prompt, tensors, (glyphs, segment), self.rows, unknown, attended=segment.stop
        )

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._size = x.shape[2:]
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype),
            timestep=torch.full((len(x),), 1000 * sigma, device=self.device, dtype=self.dtype),
            return_dict=False,
            **told,
        )[0]
        return out.float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """All that is done to the prompt alone, and every block's modulation."""
        net = self.transformer
        embedders = ["context_embedder", "time_guidance_embed"]
        embedders += ["context_embedder_2"] if net.context_embedder_2 is not None else []
        single = [(block.norm, "linear") for block in net.single_transformer_blocks]
        return mmdit.modulations(net, embedders) + single

    def sites(self) -> list[Site]:
        """Of the double blocks, then of the single ones, whose one stream has the image first."""
        return mmdit.flux_sites(*self._blocks(), self._rows, self._turned)

    def _blocks(self) -> tuple[list[Any], list[Any]]:
        net = self.transformer
        return list(net.transformer_blocks), list(net.single_transformer_blocks)

    def _rows(self, stream: Stream) -> slice:
        return slice(-self.rows) if stream == "image" else slice(-self.rows, None)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        """Only the image's are turned."""
        if stream == "text":
            return heads
        turns = self.transformer.rope(torch.empty(1, 1, *self._size, device=heads.device))
        return apply_rotary_emb(heads, turns, sequence_dim=2)  # type: ignore[no-any-return]

    def blocks(self) -> list[Block]:
        """Double blocks, then single ones; image and text streams in, both out in that order."""
        blocks = (module for blocks in self._blocks() for module in blocks)
        return [Block(module, mmdit.image_first) for module in blocks]
