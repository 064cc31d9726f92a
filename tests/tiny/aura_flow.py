"""AuraFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from counterflow.toybox.train import text
from tiny.parts import Tiny, autoencoder, captions, drawn, ready


def aura_flow() -> Any:
    torch.manual_seed(18)
    tokenizer = text.t5_tokenizer(captions())
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    )
    torch.nn.init.normal_(transformer.register_tokens)
    with torch.no_grad():  # as it comes, text hardly moves the picture
        for block in transformer.joint_transformer_blocks + transformer.single_transformer_blocks:
            block.norm1.linear.weight *= 3
            block.attn.to_out[0].weight *= 3
            block.attn.to_v.weight *= 3
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=24,
            d_kv=8,
            d_ff=24,
            num_layers=0,
            num_heads=2,
            dropout_rate=0.0,
        )
    )
    torch.nn.init.normal_(encoder.shared.weight, std=1.0)
    return ready(
        AuraFlowPipeline(
            tokenizer=tokenizer,
            text_encoder=encoder,
            vae=autoencoder(shift_factor=None),
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
        )
    )


def aura_flow_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline, prompts, noise, options, guidance_scale=guidance, max_sequence_length=text.LENGTH
    )


TINY = {"aura-flow": Tiny("aura-flow", aura_flow, aura_flow_own)}
