"""FLUX.1 and Chroma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor
from transformers import CLIPTextModel

from counterflow.backbones.mmdit import pack, unpack
from counterflow.toybox.train import text
from tiny.parts import Tiny, autoencoder, captions, drawn, ready


def flux(guided: bool) -> Any:
    """FLUX.1 dev's kind, or schnell's, which is not told its guidance."""
    torch.manual_seed(12)
    first, second = text.clip_tokenizer(captions(), "<|endoftext|>"), text.t5_tokenizer(captions())
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        FluxPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=guided, shift=3.0 if guided else 1.0
            ),
            vae=autoencoder(),
            text_encoder=CLIPTextModel(text.clip_encoder(first, 16, 12).config),
            tokenizer=first,
            text_encoder_2=text.t5_encoder(second, 24),
            tokenizer_2=second,
        )
    )


def flux_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    told = {"guidance_scale": guidance}
    if not pipeline.transformer.config.guidance_embeds:
        told = {"true_cfg_scale": guidance, "negative_prompt": [""] * len(prompts)}
    return drawn(pipeline, prompts, noise, options, pack, max_sequence_length=text.LENGTH, **told)


def chroma() -> Any:
    torch.manual_seed(13)
    tokenizer = text.t5_tokenizer(captions())
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return ready(
        ChromaPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(),
            text_encoder=text.t5_encoder(tokenizer, 24),
            tokenizer=tokenizer,
        )
    )


def chroma_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """With masks of truth values, which the pipeline's own encoding does not give."""
    given = {}
    for name, asked in (("", list(prompts)), ("negative_", [""] * len(prompts))):
        embeds, _, mask, *_ = pipeline.encode_prompt(
            asked, max_sequence_length=text.LENGTH, do_classifier_free_guidance=False
        )
        given[f"{name}prompt_embeds"] = embeds
        given[f"{name}prompt_attention_mask"] = mask.bool()
    made = pipeline(
        latents=pack(noise), guidance_scale=guidance, output_type="latent", **given, **options
    ).images
    return unpack(made, noise)


TINY = {
    "flux-dev": Tiny("flux", lambda: flux(True), flux_own, forwards=1),
    "flux-schnell": Tiny("flux", lambda: flux(False), flux_own),
    "chroma": Tiny("chroma", chroma, chroma_own),
}
