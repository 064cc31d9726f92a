"""HiDream-I1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
)
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from counterflow.toybox.train import text
from tiny.parts import Tiny, autoencoder, captions, drawn, llama_tokenizer, ready


def hidream() -> Any:
    """Its pipeline makes pictures of 64×64 pixels, or as large; there is room for four times."""
    torch.manual_seed(26)
    first = text.clip_tokenizer(captions(), "<|endoftext|>")
    third, fourth = text.t5_tokenizer(captions()), llama_tokenizer(64)
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[24, 16],
        text_emb_dim=24,
        axes_dims_rope=(4, 6, 6),
        max_resolution=(16, 16),
        llama_layers=[0, 1, 0, 1],
    )
    config = LlamaConfig(
        vocab_size=len(fourth),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    pipeline = HiDreamImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(),
        text_encoder=text.clip_encoder(first, 16, 12),
        tokenizer=first,
        text_encoder_2=text.clip_encoder(first, 16, 12),
        tokenizer_2=first,
        text_encoder_3=text.t5_encoder(third, 24),
        tokenizer_3=third,
        text_encoder_4=LlamaForCausalLM(config),
        tokenizer_4=fourth,
        transformer=transformer,
    )
    pipeline.default_sample_size = 8
    return ready(pipeline)


def hidream_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline, prompts, noise, options, guidance_scale=guidance, max_sequence_length=text.LENGTH
    )


TINY = {
    "hidream": Tiny(
        "hidream",
        hidream,
        hidream_own,
        text=("t5", "llama", "llama"),
        wide=(128, 32),
        looked=(64, 64),
    )
}
