"""FLUX.2 and FLUX.2 Klein."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from torch import Tensor
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from counterflow.backbones.autoencoders import PatchAutoencoder
from tiny.parts import PARTS, Tiny, drawn, patch_autoencoder, qwen_tokenizer, ready, squares

WORDS = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "initializer_range": 0.3,
}
"""A language model's; the pipelines read some of its layers up to the 30th and the 27th."""


def shared(guided: bool) -> dict[str, Any]:
    return {
        "transformer": Flux2Transformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guided,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        "vae": patch_autoencoder(),
    }


def flux2() -> Any:
    """Its tokenizer pads at the left, and adds what begins a text unless told that it is there."""
    torch.manual_seed(16)
    tokenizer = qwen_tokenizer(96, SYSTEM_MESSAGE, padding_side="left", bos_token="<|im_start|>")
    tokenizer.chat_template = PARTS
    sight = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "image_size": 28}
    config = Mistral3Config(
        text_config=WORDS
        | {"model_type": "mistral", "vocab_size": len(tokenizer), "num_hidden_layers": 30},
        vision_config=sight | {"model_type": "pixtral", "num_attention_heads": 2, "head_dim": 4},
    )
    encoder = Mistral3ForConditionalGeneration(config)
    return ready(Flux2Pipeline(text_encoder=encoder, tokenizer=tokenizer, **shared(True)))


def flux2_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return drawn(
        pipeline, prompts, noise, options, squares, guidance_scale=guidance, max_sequence_length=96
    )


def klein() -> Any:
    torch.manual_seed(17)
    tokenizer = qwen_tokenizer(64)
    config = Qwen3Config(**WORDS, vocab_size=len(tokenizer), num_hidden_layers=27)
    encoder = Qwen3ForCausalLM(config)
    return ready(Flux2KleinPipeline(text_encoder=encoder, tokenizer=tokenizer, **shared(False)))


def klein_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """Its latents are as the decoder takes them."""
    made = pipeline(
        prompt=list(prompts),
        latents=squares(noise),
        guidance_scale=guidance,
        max_sequence_length=64,
        output_type="latent",
        **options,
    ).images
    return PatchAutoencoder(pipeline.vae, pipeline.device).scaled(made)


TINY = {
    "flux2-dev": Tiny("flux2", flux2, flux2_own, forwards=1),
    "flux2-klein": Tiny("flux2-klein", klein, klein_own),
}
