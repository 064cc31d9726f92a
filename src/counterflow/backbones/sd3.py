"""Stable Diffusion 3 and 3.5 (and the bundled toybox model, which is one).

The text stream is `[CLIP-L ‖ CLIP-G on the same rows, then T5]`, unmasked. The model takes
time as 1000·sigma and predicts `noise - image`.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from counterflow.backbones.base import ATTENTION, Block, ClassifierFree, Conditioning, Site, Stream
from counterflow.backbones.pipelines import Memo, ScaledAutoencoder, quiet, scheduler_grid
from counterflow.flow import Grid, Latent
from counterflow.prompts import Segment, tokenize, unknown_words

T5_LENGTH = 256
"""Most T5 tokens that the pipeline uses by default; fewer where the tokenizer says so."""


class SD3:
    """Adapter over a loaded `StableDiffusion3Pipeline`."""

    family = "sd3"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        self.pipeline = pipeline
        self.identity = identity
        self.words = words
        self.transformer = pipeline.transformer
        self.vae = pipeline.vae
        self.autoencoder = ScaledAutoencoder(pipeline.vae)
        self.memo = Memo()
        self.device = self.transformer.device
        self.dtype = self.transformer.dtype
        self.factor = int(pipeline.vae_scale_factor)
        self.multiple = self.factor * int(self.transformer.config.patch_size)
        self.area = (int(self.transformer.config.sample_size) * self.factor) ** 2
        self.longest = int(self.transformer.config.pos_embed_max_size) * self.multiple
        self.t5_length = T5_LENGTH
        if pipeline.tokenizer_3 is not None:
            self.t5_length = min(T5_LENGTH, pipeline.tokenizer_3.model_max_length)

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
                max_sequence_length=self.t5_length,
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
            segments.append(tokenize(pipe.tokenizer_3, prompt, "t5", clip, self.t5_length))
        return tuple(segments)

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """The scheduler's own sigmas, dynamic shift included."""
        tokens = size[0] * size[1] // self.multiple**2
        return scheduler_grid(self.pipeline.scheduler, steps, tokens)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        rows = x.shape[0]
        self.memo.told(sigma, conditioning, rows)
        tensors = {k: v.expand(rows, *v.shape[1:]) for k, v in conditioning.tensors.items()}
        time = torch.full((rows,), 1000 * sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype), timestep=time, return_dict=False, **tensors
        )[0]
        return out.float()  # type: ignore[no-any-return]

    def steady(self) -> AbstractContextManager[None]:
        """The embeddings of prompt and time, and every block's modulation by them."""
        net = self.transformer
        modules = [(net, "context_embedder"), (net, "time_text_embed"), (net.norm_out, "linear")]
        for block in net.transformer_blocks:
            modules += [(block.norm1, "linear"), (block.norm1_context, "linear")]
        return self.memo.remembering(modules)

    def guidance(self, scale: float) -> ClassifierFree:
        """Classifier-free guidance."""
        return ClassifierFree(scale)

    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, shifted and scaled as the model expects."""
        return self.autoencoder.encode(picture)

    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        return self.autoencoder.decode(latent)

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Channels, height and width of the latent of a (width, height) picture."""
        channels = int(self.transformer.config.in_channels)
        return channels, size[1] // self.factor, size[0] // self.factor

    def sites(self) -> list[Site]:
        """Modulated text features and the joint attention's projections of every block.

        The last block's `norm1_context` gives a plain tensor, the others a 5-tuple. SD3.5-medium's
        second, image-only attention is left alone: the text never reaches it.
        """
        sites: list[Site] = []
        for i, block in enumerate(self.transformer.transformer_blocks):
            sites.append(Site("text", "modulated", i, block.norm1_context, _first, _with_first))
            for part in ATTENTION:
                projections: dict[Stream, str] = {"image": f"to_{part}", "text": f"add_{part}_proj"}
                for stream, name in projections.items():
                    site = Site(stream, part, i, getattr(block.attn, name))
                    norm = f"norm_{part}" if stream == "image" else f"norm_added_{part}"
                    compared = None if part == "v" else partial(_compared, block.attn, norm)
                    sites.append(replace(site, compared=compared))
        return sites

    def blocks(self) -> list[Block]:
        """Joint transformer blocks: text and image streams in, both out in the same order."""
        return [Block(module, _streams) for module in self.transformer.transformer_blocks]


def _compared(attention: Any, norm: str, value: Tensor) -> Tensor:
    heads = value.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    normed = getattr(attention, norm)
    return heads if normed is None else normed(heads)  # type: ignore[no-any-return]


def _streams(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    given = dict(zip(("hidden_states", "encoder_hidden_states"), args, strict=False)) | named
    return given["encoder_hidden_states"], given["hidden_states"]


def _first(output: Any) -> Tensor:
    features: Tensor = output[0] if isinstance(output, tuple) else output
    return features


def _with_first(output: Any, value: Tensor) -> Any:
    return (value, *output[1:]) if isinstance(output, tuple) else value
