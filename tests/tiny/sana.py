"""Sana."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    FlowMatchEulerDiscreteScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from torch import Tensor

from tiny.parts import Tiny, drawn, gemma, gemma_tokenizer, ready


def sana() -> Any:
    """With Euler's rule; released models are sampled by another."""
    torch.manual_seed(25)
    tokenizer = gemma_tokenizer(64)
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=3,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=24,
        sample_size=2,
        timestep_scale=0.001,
        qk_norm="rms_norm_across_heads",
    )
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        scaling_factor=0.41,
    )
    return ready(
        SanaPipeline(
            tokenizer=tokenizer,
            text_encoder=gemma(tokenizer),
            vae=vae,
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    )


def sana_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline,
        prompts,
        noise,
        options,
        guidance_scale=guidance,
        max_sequence_length=64,
        use_resolution_binning=False,
    )


TINY = {"sana": Tiny("sana", sana, sana_own, wide=(96, 64))}
