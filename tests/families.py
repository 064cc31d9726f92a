"""A tiny pipeline of random weights for each family, and how its own call is asked for latents."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
)

from counterflow.backbones.mmdit import pack, unpack
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import sample
from counterflow.toybox.train import text

Own = Callable[[Any, Sequence[str], Tensor, float, dict[str, Any]], Tensor]
"""Latents `[b, c, h, w]` of a pipeline's own call from prompts, noise, guidance and options."""


@cache
def captions() -> list[str]:
    return [caption(sample(i)) for i in range(300)]


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5,
        shift_factor=0.06,
    )


def ready(pipeline: Any) -> Any:
    """Without a progress bar or dropout."""
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline


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


def sd3_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    return pipeline(
        list(prompts),
        latents=noise,
        guidance_scale=guidance,
        max_sequence_length=text.LENGTH,
        output_type="latent",
        **options,
    ).images


def flux(guided: bool) -> Any:
    """FLUX.1 dev's kind, or schnell's, which is not told its guidance."""
    torch.manual_seed(12)
    first, second = text.clip_tokenizer(captions(), "<|endoftext|>"), text.t5_tokenizer(captions())
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )
    return ready(
        FluxPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=guided, shift=3.0 if guided else 1.0
            ),
            vae=autoencoder(),
            text_encoder=CLIPTextModel(text.clip_encoder(first, 16, 12).config),
            tokenizer=first,
            text_encoder_2=text.t5_encoder(second, 24),
            tokenizer_2=second,
        )
    )


def flux_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    told = {"guidance_scale": guidance}
    if not pipeline.transformer.config.guidance_embeds:
        told = {"true_cfg_scale": guidance, "negative_prompt": [""] * len(prompts)}
    made = pipeline(
        list(prompts),
        latents=pack(noise),
        max_sequence_length=text.LENGTH,
        output_type="latent",
        **told,
        **options,
    ).images
    return unpack(made, noise)


def chroma() -> Any:
    torch.manual_seed(13)
    tokenizer = text.t5_tokenizer(captions())
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return ready(
        ChromaPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(),
            text_encoder=text.t5_encoder(tokenizer, 24),
            tokenizer=tokenizer,
        )
    )


def chroma_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """With masks of truth values, which the pipeline's own encoding does not give."""
    given = {}
    for name, asked in (("", list(prompts)), ("negative_", [""] * len(prompts))):
        embeds, _, mask, *_ = pipeline.encode_prompt(
            asked, max_sequence_length=text.LENGTH, do_classifier_free_guidance=False
        )
        given[f"{name}prompt_embeds"] = embeds
        given[f"{name}prompt_attention_mask"] = mask.bool()
    made = pipeline(
        latents=pack(noise), guidance_scale=guidance, output_type="latent", **given, **options
    ).images
    return unpack(made, noise)


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def qwen_tokenizer(length: int, template: str = "") -> Qwen2Tokenizer:
    """A byte-level tokenizer of Qwen's kind, with a chat's template; it may know another well."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = Qwen2Tokenizer()._tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, initial_alphabet=alphabet)
    learner.train_from_iterator([*captions(), *[template] * 300], trainer)
    model = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
        model_max_length=length,
    )
    tokenizer.chat_template = CHAT
    return tokenizer


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
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=12,
    )
    return ready(
        ZImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(),
            text_encoder=Qwen3Model(config),
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def z_image_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """Its guidance 0 is the prompt alone."""
    return pipeline(
        list(prompts),
        latents=noise,
        guidance_scale=guidance - 1,
        max_sequence_length=64,
        output_type="latent",
        **options,
    ).images


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
    vae = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        num_res_blocks=1,
        latents_mean=[-0.7, 0.3, 0.1, -0.2],
        latents_std=[2.8, 1.4, 2.3, 0.6],
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
            vae=vae,
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


@dataclass(frozen=True)
class Tiny:
    """A pipeline of a family."""

    family: str
    build: Callable[[], Any] = field(repr=False)
    own: Own = field(repr=False)
    forwards: int = 2
    """For a guided velocity."""
    text: str = "encoder_hidden_states"
    """Name of the conditioning's tensor that is the text stream."""


TINY = {
    "sd3": Tiny("sd3", lambda: sd3(shift=3.0), sd3_own),
    "sd3.5-medium": Tiny("sd3", lambda: sd3(dual_attention=True), sd3_own),
    "flux-dev": Tiny("flux", lambda: flux(True), flux_own, forwards=1),
    "flux-schnell": Tiny("flux", lambda: flux(False), flux_own),
    "chroma": Tiny("chroma", chroma, chroma_own),
    "z-image": Tiny("z-image", z_image, z_image_own, text="cap_feats"),
    "qwen-image": Tiny("qwen-image", qwen_image, qwen_image_own),
}
