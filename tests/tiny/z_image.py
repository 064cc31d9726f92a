"""Z-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor

from tiny.parts import Tiny, autoencoder, drawn, qwen3, qwen_tokenizer, ready


def z_image() -> Any:
    torch.manual_seed(14)
    tokenizer = qwen_tokenizer(64)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=24,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 64, 64],
    )
    torch.nn.init.normal_(transformer.x_pad_token)
    torch.nn.init.normal_(transformer.cap_pad_token)
    return ready(
        ZImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(),
            text_encoder=qwen3(tokenizer),
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def z_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """Its guidance 0 is the prompt alone."""
    return drawn(
        pipeline, prompts, noise, options, guidance_scale=guidance - 1, max_sequence_length=64
    )


TINY = {"z-image": Tiny("z-image", z_image, z_image_own, text=("cap_feats",))}
