"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor

from counterflow.toybox.train import text
from tiny.parts import Tiny, autoencoder, captions, drawn, ready


def sd3(dual_attention: bool = False, shift: float = 1.0) -> Any:
    """A random-weight SD3 pipeline (SD3.5-medium-like with dual attention) of 64×64 pixels."""
    torch.manual_seed(11)
    first = text.clip_tokenizer(captions(), "<|endoftext|>")
    second = text.clip_tokenizer(captions(), "!")
    third = text.t5_tokenizer(captions())
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=24,
        pos_embed_max_size=16,
        qk_norm="rms_norm" if dual_attention else None,
        dual_attention_layers=(0, 1) if dual_attention else (),
    )
    return ready(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
            vae=autoencoder(),
            text_encoder=text.clip_encoder(first, 16, 12),
            tokenizer=first,
            text_encoder_2=text.clip_encoder(second, 24, 12),
            tokenizer_2=second,
            text_encoder_3=text.t5_encoder(third, 48),
            tokenizer_3=third,
        )
    )


def saved(folder: Path) -> str:
    """That pipeline, written to a folder."""
    sd3().save_pretrained(folder)
    return str(folder)


def sd3_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline, prompts, noise, options, guidance_scale=guidance, max_sequence_length=text.LENGTH
    )


TINY = {
    "sd3": Tiny("sd3", lambda: sd3(shift=3.0), sd3_own),
    "sd3.5-medium": Tiny("sd3", lambda: sd3(dual_attention=True), sd3_own),
}
