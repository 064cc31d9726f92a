"""HunyuanImage 2.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanImage,
    FlowMatchEulerDiscreteScheduler,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from torch import Tensor
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from tiny.parts import Tiny, qwen_tokenizer, qwen_vl, ready
from tiny.qwen_image import SYSTEM


def hunyuan_image() -> Any:
    """With shorter text than the pipeline's 1000 and 128 rows, which are masked."""
    torch.manual_seed(23)
    tokenizer = qwen_tokenizer(64, f"{SYSTEM}, spatial relationships of the objects and background")
    letters = ByT5Tokenizer()
    letter_config = T5Config(
        vocab_size=len(letters), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    transformer = HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        text_embed_dim=24,
        text_embed_2_dim=16,
        rope_axes_dim=(8, 8),
    )
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32, 32, 32, 32),
        layers_per_block=1,
        spatial_compression_ratio=16,
        sample_size=64,
        scaling_factor=0.75,
    )
    pipeline = HunyuanImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae=vae,
        text_encoder=qwen_vl(tokenizer, layers=3),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(letter_config),
        tokenizer_2=letters,
        transformer=transformer,
    )
    pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length = 64, 32
    return ready(pipeline)


def hunyuan_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """In few steps its guidance is classifier-free."""
    pipeline.guider = AdaptiveProjectedMixGuidance(guidance_scale=guidance)
    made = pipeline(
        list(prompts),
        latents=noise,
        output_type="latent",
        **options,
    ).images
    pipeline.guider = None
    return made


TINY = {"hunyuan-image": Tiny("hunyuan-image", hunyuan_image, hunyuan_image_own)}
