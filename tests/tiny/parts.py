"""What tiny pipelines share: words, an autoencoder, tokenizers, and what the suite asks of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLConfig,
)

from counterflow.backbones.base import Conditioning
from counterflow.backbones.mmdit import pack, unpack
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import sample

Own = Callable[[Any, Sequence[str], Tensor, float, dict[str, Any]], Tensor]
"""Latents `[b, c, h, w]` of a pipeline's own call from prompts, noise, guidance and options."""


@dataclass(frozen=True)
class Tiny:
    """A pipeline of a family."""

    family: str
    build: Callable[[], Any] = field(repr=False)
    own: Own = field(repr=False)
    forwards: int = 2
    """For a guided velocity."""
    text: tuple[str, ...] = ("encoder_hidden_states",)
    """Names of the conditioning's tensors that are the text stream, one after another."""
    wide: tuple[int, int] = (96, 48)
    """A size that its pipeline keeps, and that is not square."""
    looked: tuple[int, int] = (128, 64)
    """A size at which it fills nothing up."""

    def row(self, conditioning: Conditioning, row: int) -> Tensor:
        """What the network gets in a row of the text stream, to be read or changed."""
        for name in self.text:
            features = conditioning.tensors[name][0]
            if row < len(features):
                return features[row]
            row -= len(features)
        return torch.empty(0)


def drawn(
    pipeline: Any,
    prompts: Sequence[str],
    noise: Tensor,
    options: dict[str, Any],
    packing: Callable[[Tensor], Tensor] | None = None,
    **told: Any,
) -> Tensor:
    """Latents of a pipeline's own call, told what is given; it may take them packed."""
    latents = noise if packing is None else packing(noise)
    made = pipeline(
        prompt=list(prompts), latents=latents, output_type="latent", **told, **options
    ).images
    return made if packing is None else unpack(made, noise)


@cache
def captions() -> list[str]:
    return [caption(sample(i)) for i in range(300)]


def autoencoder(shift_factor: float | None = 0.06) -> AutoencoderKL:
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
        shift_factor=shift_factor,
    )


def frame_autoencoder() -> AutoencoderKLQwenImage:
    """Qwen-Image's, of videos."""
    return AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        num_res_blocks=1,
        latents_mean=[-0.7, 0.3, 0.1, -0.2],
        latents_std=[2.8, 1.4, 2.3, 0.6],
    )


def patch_autoencoder() -> AutoencoderKLFlux2:
    """FLUX.2's, of 16 normalised channels."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )
    torch.nn.init.normal_(vae.bn.running_mean, std=0.1)
    torch.nn.init.uniform_(vae.bn.running_var, 0.05, 0.2)
    return vae


def squares(latent: Tensor) -> Tensor:
    """With 2×2 cells as channels."""
    return pack(latent).mT.unflatten(-1, (latent.shape[2] // 2, latent.shape[3] // 2))


def cells(squares: Tensor, like: Tensor) -> Tensor:
    """The other way, to the shape of a latent."""
    return unpack(squares.flatten(2).mT, like)


def ready(pipeline: Any) -> Any:
    """Without a progress bar or dropout."""
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


PARTS = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{% for part in m.content %}"
    "{{ part.text }}{% endfor %}[/{{ m.role }}]{% endfor %}"
)
"""A chat's template for messages of several parts."""


def qwen3_vl(tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """Of two layers with features of width 24."""
    words = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "initializer_range": 0.2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2]},
    }
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    sight |= {"out_hidden_size": 24, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return Qwen3VLConfig(text_config=words, vision_config=sight)


@cache
def qwen_tokenizer(length: int, template: str = "", **options: Any) -> Qwen2Tokenizer:
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
        **options,
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen_vl(tokenizer: Qwen2Tokenizer, layers: int = 1) -> Qwen2_5_VLForConditionalGeneration:
    """A language model of Qwen2.5-VL's kind, with features of width 24."""
    words = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2]},
    }
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(text_config=words, vision_config={**sight, "out_hidden_size": 24})
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3(tokenizer: Qwen2Tokenizer) -> Qwen3Model:
    """A language model of Qwen3's kind, with features of width 24."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=12,
    )
    return Qwen3Model(config)


SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")


@cache
def gemma_tokenizer(length: int, template: str = "") -> GemmaTokenizer:
    """A tokenizer of Gemma's kind, with a token for each byte; it may know a text well."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "\u2581")
    learner.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    known = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, special_tokens=known)
    learner.train_from_iterator([*captions(), *[template] * 300], trainer)
    model = json.loads(learner.to_str())["model"]
    return GemmaTokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=length,
        add_bos_token=True,
    )


def gemma(tokenizer: GemmaTokenizer) -> Gemma2Model:
    """A language model of Gemma 2's kind, with features of width 24."""
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Gemma2Model(config)


def llama_tokenizer(length: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of Llama 3's kind, which begins every text with a token."""
    backend = Tokenizer.from_str(qwen_tokenizer(length)._tokenizer.to_str())
    begin = "<|im_start|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=length,
    )
