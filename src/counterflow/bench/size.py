"""Edits at the real size of released models, whose weights are random here: what they take.

Transformer and autoencoder have their published configurations, the transformer cut to some blocks
where a machine is too small for all; text encoders are one layer with the widths that it expects.
Pictures mean nothing; times, memory and what is kept of the source do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from PIL import Image
from transformers import CLIPTextModel

from counterflow.backbones.opening import load_adapter
from counterflow.bench.cost import peak
from counterflow.edit.editor import Editor
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import sample
from counterflow.toybox.train import text

STEPS = 2
CLIP = 77
"""Rows of CLIP's text."""
PROMPTS = "a red cat on the grass", "a blue cat on the grass"
SETTINGS: Mapping[str, Any] = {"attention_ratio": 1.0, "attention_parts": ("v",)}
"""FTEdit in two steps, with its text control and the source's V in both."""


def captions() -> list[str]:
    """What tokenizers are made of."""
    return [caption(sample(n)) for n in range(100)]


def sd35_medium(blocks: tuple[int, ...]) -> Any:
    """Stable Diffusion 3.5 medium: 24 blocks of width 1536, 13 of them with dual attention."""
    (layers,) = blocks
    words = captions()
    first, second = (text.clip_tokenizer(words, pad, CLIP) for pad in ("<|endoftext|>", "!"))
    third = text.t5_tokenizer(words, 256)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=128,
            num_layers=layers,
            attention_head_dim=64,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            out_channels=16,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(min(13, layers - 1))),
            qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1.5305, 0.0609),
        text_encoder=text.clip_encoder(first, 768, 768),
        tokenizer=first,
        text_encoder_2=text.clip_encoder(second, 1280, 1280),
        tokenizer_2=second,
        text_encoder_3=text.t5_encoder(third, 4096),
        tokenizer_3=third,
    )


def flux_dev(blocks: tuple[int, ...]) -> Any:
    """FLUX.1 dev: 19 double and 38 single blocks of width 3072."""
    double, single = blocks
    words = captions()
    first = text.clip_tokenizer(words, "<|endoftext|>", CLIP)
    second = text.t5_tokenizer(words, 512)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=double,
            num_single_layers=single,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=CLIPTextModel(text.clip_encoder(first, 768, 768).config),
        tokenizer=first,
        text_encoder_2=text.t5_encoder(second, 4096),
        tokenizer_2=second,
    )


def autoencoder(scale: float, shift: float) -> AutoencoderKL:
    """That of either: 16 channels, factor 8, 84 million weights."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=scale,
        shift_factor=shift,
    )


@dataclass(frozen=True)
class Released:
    """A released model's size."""

    build: Callable[[tuple[int, ...]], Any]
    blocks: tuple[int, ...]
    """All of its blocks: of two kinds, double ones first."""


MODELS = {
    "sd3.5-medium": Released(sd35_medium, (24,)),
    "flux.1-dev": Released(flux_dev, (19, 38)),
}


def opened(model: str, blocks: tuple[int, ...] | None, dtype: str) -> Editor:
    """An editor on random weights of a model's size, or of some blocks of it."""
    released, kind = MODELS[model], getattr(torch, dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)  # never in single precision, which may not fit
    try:
        pipeline = released.build(blocks or released.blocks).to(kind)
    finally:
        torch.set_default_dtype(before)
    pipeline.set_progress_bar_config(disable=True)
    return Editor(load_adapter(pipeline, f"random {model}"))


def measure(editor: Editor, size: tuple[int, int]) -> dict[str, Any]:
    """Invert a picture of a size, (width, height), and edit it: seconds, bytes, what is kept."""
    editor.backbone.area = size[0] * size[1]  # else it would work at its own size
    picture = Image.linear_gradient("L").convert("RGB").resize(size)
    found: dict[str, Any] = {"size": "x".join(map(str, size))}

    def work() -> None:
        begin = time.perf_counter()
        inversion = editor.invert(picture, PROMPTS[0], "ftedit", steps=STEPS, iterations=1)
        middle = time.perf_counter()
        edit = editor.edit(inversion, PROMPTS[1], **SETTINGS)
        end = time.perf_counter()
        found["finite"] = bool(torch.isfinite(edit.latent).all())
        found["forwards"] = {"invert": inversion.forwards, "edit": edit.forwards}
        found["seconds"] = {"invert": middle - begin, "edit": end - middle}
        found["kept"] = inversion.features.size

    memory = peak(editor.backbone, work)
    if memory is not None:
        found |= {"peak": memory[0], "weights": memory[1]}
    return found
