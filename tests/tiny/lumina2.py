"""Lumina-Image 2.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel
from torch import Tensor

from tiny.parts import Tiny, autoencoder, drawn, gemma, gemma_tokenizer, ready

SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of "
    "image-text alignment based on textual prompts or user prompts. <Prompt Start> "
)


def lumina2() -> Any:
    """With two queries for each key."""
    torch.manual_seed(24)
    tokenizer = gemma_tokenizer(64, SYSTEM)
    transformer = Lumina2Transformer2DModel(
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(300, 64, 64),
        cap_feat_dim=24,
    )
    return ready(
        Lumina2Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
            vae=autoencoder(),
            text_encoder=gemma(tokenizer),
            tokenizer=tokenizer,
        )
    )


def lumina2_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(pipeline, prompts, noise, options, guidance_scale=guidance, max_sequence_length=64)


TINY = {"lumina2": Tiny("lumina2", lumina2, lumina2_own)}
