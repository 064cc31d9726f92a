"""Qwen-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from torch import Tensor

from counterflow.backbones.mmdit import pack
from tiny.parts import Tiny, drawn, frame_autoencoder, qwen_tokenizer, qwen_vl, ready

SYSTEM = "Describe the image by detailing the color, shape, size, texture, quantity, text"


def qwen_image() -> Any:
    torch.manual_seed(15)
    tokenizer = qwen_tokenizer(64, f"{SYSTEM}, spatial relationships of the objects and background")
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        QwenImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                max_shift=0.9,
                max_image_seq_len=8192,
                shift_terminal=0.02,
            ),
            vae=frame_autoencoder(),
            text_encoder=qwen_vl(tokenizer),
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def qwen_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline,
        prompts,
        noise,
        options,
        pack,
        negative_prompt=[""] * len(prompts),
        true_cfg_scale=guidance,
        max_sequence_length=64,
    )


TINY = {"qwen-image": Tiny("qwen-image", qwen_image, qwen_image_own)}
