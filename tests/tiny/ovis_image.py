"""Ovis-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
)
from torch import Tensor

from counterflow.backbones.mmdit import pack
from tiny.parts import Tiny, autoencoder, drawn, qwen3, qwen_tokenizer, ready

SYSTEM = (
    "Describe the image by detailing the color, quantity, text, shape, size, texture, spatial "
    "relationships of the objects and background: "
)


def ovis_image() -> Any:
    torch.manual_seed(22)
    tokenizer = qwen_tokenizer(64, SYSTEM)
    transformer = OvisImageTransformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        OvisImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=autoencoder(),
            text_encoder=qwen3(tokenizer),
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def ovis_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline, prompts, noise, options, pack, guidance_scale=guidance, max_sequence_length=64
    )


TINY = {"ovis-image": Tiny("ovis-image", ovis_image, ovis_image_own)}
