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
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from counterflow.backbones.mmdit import pack, unpack
from tiny.parts import Tiny, frame_autoencoder, qwen_tokenizer, ready

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
    words = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2]},
    }
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(text_config=words, vision_config={**sight, "out_hidden_size": 24})
    return ready(
        QwenImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                max_shift=0.9,
                max_image_seq_len=8192,
                shift_terminal=0.02,
            ),
            vae=frame_autoencoder(),
            text_encoder=Qwen2_5_VLForConditionalGeneration(config),
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def qwen_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    made = pipeline(
        list(prompts),
        negative_prompt=[""] * len(prompts),
        true_cfg_scale=guidance,
        latents=pack(noise),
        max_sequence_length=64,
        output_type="latent",
        **options,
    ).images
    return unpack(made, noise)


TINY = {"qwen-image": Tiny("qwen-image", qwen_image, qwen_image_own)}
