"""ERNIE-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor
from transformers import Mistral3Config, Mistral3Model

from tiny.parts import Tiny, cells, patch_autoencoder, qwen_tokenizer, ready, squares


def ernie_image() -> Any:
    torch.manual_seed(20)
    tokenizer = qwen_tokenizer(64)
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=3,
        ffn_hidden_size=64,
        in_channels=16,
        out_channels=16,
        text_in_dim=24,
        rope_axes_dim=(4, 6, 6),
    )
    for made_zero in (transformer.adaLN_modulation[-1], transformer.final_linear):
        torch.nn.init.normal_(made_zero.weight, std=0.2)
        torch.nn.init.normal_(made_zero.bias, std=0.2)
    words = {
        "model_type": "mistral",
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "initializer_range": 0.2,
    }
    sight = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "image_size": 28}
    sight |= {"model_type": "pixtral", "num_attention_heads": 2, "head_dim": 4}
    return ready(
        ErnieImagePipeline(
            transformer=transformer,
            vae=patch_autoencoder(),
            text_encoder=Mistral3Model(Mistral3Config(text_config=words, vision_config=sight)),
            tokenizer=tokenizer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    )


def ernie_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    made = pipeline(
        list(prompts),
        latents=squares(noise),
        guidance_scale=guidance,
        output_type="latent",
        **options,
    ).images
    return cells(made, noise)


TINY = {"ernie-image": Tiny("ernie-image", ernie_image, ernie_image_own, text=("text_bth",))}
