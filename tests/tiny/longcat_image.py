"""LongCat-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
)
from torch import Tensor

from counterflow.backbones.mmdit import pack
from tiny.parts import Tiny, autoencoder, drawn, qwen_tokenizer, qwen_vl, ready


def longcat_image() -> Any:
    torch.manual_seed(21)
    tokenizer = qwen_tokenizer(1024)
    transformer = LongCatImageTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        LongCatImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=autoencoder(),
            text_encoder=qwen_vl(tokenizer),
            tokenizer=tokenizer,
            text_processor=None,  # rewrites prompts, and needs torchvision
            transformer=transformer,
        )
    )


def longcat_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline,
        prompts,
        noise,
        options,
        pack,
        negative_prompt=[""] * len(prompts),
        guidance_scale=guidance,
        enable_prompt_rewrite=False,
    )


TINY = {"longcat-image": Tiny("longcat-image", longcat_image, longcat_image_own)}
