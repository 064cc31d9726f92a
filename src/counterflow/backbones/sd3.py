"""Stable Diffusion 3 and 3.5 (and the bundled toybox model, which is one).

The text stream is `[CLIP-L ‖ CLIP-G on the same rows, then T5]`, unmasked. The model takes
time as 1000·sigma and predicts `noise - image`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from counterflow.backbones.base import Conditioning, Site
from counterflow.errors import ModelError
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
        quiet = logging.getLogger("diffusers.pipelines.stable_diffusion_3")
        level = quiet.level
        quiet.setLevel(logging.ERROR)  # it warns of cut prompts; we report them ourselves
        try:
            embeds, _, pooled, _ = self.pipeline.encode_prompt(
                prompt=prompt,
                prompt_2=None,
                prompt_3=None,
                device=self.device,
                do_classifier_free_guidance=False,
                max_sequence_length=self.t5_length,
            )
        finally:
            quiet.setLevel(level)
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
        """The scheduler's own sigmas, dynamic shift included, read from a copy of it."""
        from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
            calculate_shift,
        )

        scheduler = copy.deepcopy(self.pipeline.scheduler)
        config, extra = scheduler.config, {}
        if config.get("use_dynamic_shifting", None):
            extra["mu"] = calculate_shift(
                size[0] * size[1] // self.multiple**2,
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.16),
            )
        scheduler.set_timesteps(steps, device="cpu", **extra)
        try:
            return Grid(tuple(scheduler.sigmas.double().tolist()))
        except ValueError as error:
            name = type(scheduler).__name__
            raise ModelError(f"the model's scheduler {name} cannot be used: {error}") from None

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        rows = x.shape[0]
        tensors = {k: v.expand(rows, *v.shape[1:]) for k, v in conditioning.tensors.items()}
        time = torch.full((rows,), 1000 * sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype), timestep=time, return_dict=False, **tensors
        )[0]
        return out.float()  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, shifted and scaled as the model expects."""
        config = self.vae.config
        latent = self.vae.encode(picture.to(self.device, self.vae.dtype)).latent_dist.mode().float()
        return (latent - config.shift_factor) * config.scaling_factor  # type: ignore[no-any-return]

    @torch.no_grad()
    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        config = self.vae.config
        latent = latent / config.scaling_factor + config.shift_factor
        picture = self.vae.decode(latent.to(self.device, self.vae.dtype), return_dict=False)[0]
        return picture.float()  # type: ignore[no-any-return]

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
            sites.append(Site("text", i, block.norm1_context, _first, _with_first))
            for part in ("q", "k", "v"):
                image = getattr(block.attn, f"to_{part}")
                text = getattr(block.attn, f"add_{part}_proj")
                sites.append(Site(f"image.{part}", i, image))  # type: ignore[arg-type]
                sites.append(Site(f"text.{part}", i, text))  # type: ignore[arg-type]
        return sites


def _first(output: Any) -> Tensor:
    features: Tensor = output[0] if isinstance(output, tuple) else output
    return features


def _with_first(output: Any, value: Tensor) -> Any:
    return (value, *output[1:]) if isinstance(output, tuple) else value
