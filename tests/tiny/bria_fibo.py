"""Bria FIBO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from tiny.parts import Tiny, llama_tokenizer, ready


def bria_fibo() -> Any:
    """Its vocabulary has room for the token that stands for an empty prompt."""
    torch.manual_seed(27)
    tokenizer = llama_tokenizer(64)
    config = SmolLM3Config(
        vocab_size=128001,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformer = BriaFiboTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        text_encoder_dim=16,
        axes_dims_rope=[4, 6, 6],
    )
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[-0.7, 0.3, 0.1, -0.2],
        latents_std=[2.8, 1.4, 2.3, 0.6],
    )
    return ready(
        BriaFiboPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=SmolLM3ForCausalLM(config),
            tokenizer=tokenizer,
        )
    )


def bria_fibo_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    made = pipeline(
        list(prompts),
        guidance_scale=guidance,
        latents=noise.flatten(2).transpose(1, 2),
        max_sequence_length=64,
        output_type="latent",
        **options,
    ).images
    return made.transpose(1, 2).reshape(noise.shape)


TINY = {"bria-fibo": Tiny("bria-fibo", bria_fibo, bria_fibo_own, text=("text",))}
