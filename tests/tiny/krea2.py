"""Krea 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Krea2Pipeline, Krea2Transformer2DModel
from torch import Tensor
from transformers import Qwen3VLModel

from counterflow.backbones.mmdit import pack
from tiny.parts import Tiny, drawn, frame_autoencoder, qwen3_vl, qwen_tokenizer, ready
from tiny.qwen_image import SYSTEM


def krea2(distilled: bool) -> Any:
    torch.manual_seed(19)
    template = f"{SYSTEM}, spatial relationships of the objects and background assistant"
    tokenizer = qwen_tokenizer(64, template)
    transformer = Krea2Transformer2DModel(
        in_channels=16,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        timestep_embed_dim=32,
        text_hidden_dim=24,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        Krea2Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, max_image_seq_len=6400
            ),
            vae=frame_autoencoder(),
            text_encoder=Qwen3VLModel(qwen3_vl(tokenizer)),
            tokenizer=tokenizer,
            transformer=transformer,
            text_encoder_select_layers=(1, 2),
            is_distilled=distilled,
        )
    )


def krea2_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """Its guidance 0 is the prompt alone."""
    return drawn(
        pipeline, prompts, noise, options, pack, guidance_scale=guidance - 1, max_sequence_length=64
    )


TINY = {
    "krea-2": Tiny("krea-2", lambda: krea2(False), krea2_own),
    "krea-2-turbo": Tiny("krea-2", lambda: krea2(True), krea2_own),
}
