"""FLUX.1: dev and its kin, which are told their guidance, and schnell.

The text stream is T5's, unmasked; CLIP's pooled vector modulates. Time is sigma, the prediction is
`noise - image`. Inside the model latents are squares of 2×2 cells; here they never are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning, Guidance, Site, Stream
from counterflow.backbones.guidance import Embedded
from counterflow.backbones.pipelines import PipelineAdapter, quiet
from counterflow.flow import Latent
from counterflow.prompts import Segment, tokenize, unknown_words


class Flux(PipelineAdapter):
    """Adapter over a loaded `FluxPipeline`."""

    family = "flux"
    embedders: Sequence[str] = ("context_embedder", "time_text_embed")
    """Modules of the transformer that embed prompt and time."""

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        side = int(self.vae.config.get("sample_size", 0))  # 32 is the class's default: not said
        self.area = side**2 if side > 32 else self.area
        self.embedded = bool(self.transformer.config.get("guidance_embeds", False))
        self.tokenizer = self._tokenizer()
        self.length = min(self._longest_text(), int(self.tokenizer.model_max_length))

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer_2

    def _longest_text(self) -> int:
        """Schnell was taught with 256 tokens."""
        return 512 if self.embedded else 256

    def _few_steps(self) -> int | None:
        """Schnell alone of FLUX.1 is neither told guidance nor shifted by the picture's size."""
        shifted = self.pipeline.scheduler.config.get("use_dynamic_shifting", False)
        other = self.family != Flux.family or self.embedded or shifted
        return super()._few_steps() if other else 4

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What T5's tokenizer cuts off is in `Conditioning.cut`."""
        with quiet("diffusers.pipelines.flux"):  # it warns of cut prompts
            embeds, pooled, _ = self.pipeline.encode_prompt(
                prompt, None, device=self.device, max_sequence_length=self.length
            )
        tensors = {"encoder_hidden_states": embeds, "pooled_projections": pooled}
        return self._conditioning(prompt, {k: v.to(self.dtype) for k, v in tensors.items()})

    def _conditioning(self, prompt: str, tensors: dict[str, Tensor]) -> Conditioning:
        if self.embedded:
            tensors["guidance"] = torch.ones(1, device=self.device)
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, self._segments(prompt), self.length, unknown)

    def _segments(self, prompt: str) -> tuple[Segment, ...]:
        return (tokenize(self.tokenizer, prompt, "t5", 0, self.length),)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        self._places = self._positions(x.shape[2] // 2, x.shape[3] // 2)
        out = self.transformer(
            hidden_states=mmdit.pack(x.to(self.device, self.dtype)),
            timestep=torch.full((len(x),), sigma, device=self.device, dtype=torch.float32),
            txt_ids=self._places[: self.length],
            img_ids=self._places[self.length :],
            return_dict=False,
            **self.told(x, sigma, conditioning),
        )[0]
        return mmdit.unpack(out.float(), x)

    def _positions(self, height: int, width: int) -> Tensor:
        """Of text and image tokens."""
        return mmdit.places(self.length, height, width, self.device)

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """As SD3's, and the single blocks' modulation."""
        net = self.transformer
        single = [(block.norm, "linear") for block in net.single_transformer_blocks]
        return mmdit.modulations(net, self.embedders) + single

    def guidance(self, scale: float) -> Guidance:
        """Told to the model where it was made so, else classifier-free."""
        return Embedded(scale) if self.embedded else super().guidance(scale)

    def sites(self) -> list[Site]:
        """Of the double blocks, then of the single ones, whose one stream has text first.

        q and k are compared with their norm and rotary embedding, at the last forward's size.
        """
        return mmdit.flux_sites(*self._blocks(), self._rows, self._turned)

    def _blocks(self) -> tuple[list[Any], list[Any]]:
        net = self.transformer
        return list(net.transformer_blocks), list(net.single_transformer_blocks)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        turns = self.transformer.pos_embed(self._places[self._rows(stream)])
        return apply_rotary_emb(heads, turns, sequence_dim=2)  # type: ignore[no-any-return]

    def blocks(self) -> list[Block]:
        """Double blocks, then single ones; text and image streams in, both out in that order."""
        return [Block(module, mmdit.streams) for blocks in self._blocks() for module in blocks]
