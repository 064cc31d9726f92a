"""Qwen-Image 2.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from torch import Tensor
from transformers import CLIPImageProcessorPil, LlavaProcessor, Qwen3VLForConditionalGeneration

from tiny.parts import Tiny, qwen3_vl, qwen_tokenizer, ready

MESSAGES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)


def qwen_image21() -> Any:
    """Its own processor needs torchvision, for videos; Llava's reads text in the same way."""
    torch.manual_seed(21)
    tokenizer = qwen_tokenizer(72, "Comprehend and analyze the provided prompt.")
    tokenizer.add_tokens(["<|image_pad|>"], special_tokens=True)
    processor = LlavaProcessor(CLIPImageProcessorPil(), tokenizer, 14, chat_template=MESSAGES)
    transformer = QwenImage21Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[-0.7, 0.3, 0.1, -0.2],
        latents_std=[2.8, 1.4, 2.3, 0.6],
    )
    return ready(
        QwenImage21Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=Qwen3VLForConditionalGeneration(qwen3_vl(tokenizer)),
            processor=processor,
            transformer=transformer,
        )
    )


def qwen_image21_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """One prompt at a time: in a batch the image stands after the longest, also of the others."""
    made = [
        pipeline(
            prompt,
            negative_prompt="",
            true_cfg_scale=guidance,
            latents=latent[None].flatten(2).mT,
            output_type="latent",
            **options,
        ).images
        for prompt, latent in zip(prompts, noise, strict=True)
    ]
    return torch.cat(made).mT.reshape(noise.shape)


TINY = {"qwen-image-2.1": Tiny("qwen-image-2.1", qwen_image21, qwen_image21_own)}
