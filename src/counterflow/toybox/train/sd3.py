"""The SD3 architecture: an `SD3Transformer2DModel`, two CLIP text encoders and a T5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn

from counterflow.toybox.train import text
from counterflow.toybox.train.attention import TrainingAttention
from counterflow.toybox.train.model import ImageModel, zero


def build(layers: int = 6, heads: int = 4, pooled: int = 128) -> SD3Transformer2DModel:
    """A small untrained transformer like SD3.5's, for latents `[n, 16, 16, 16]` in patches of 2×2.

    `pooled` is the size of the pooled text vector.
    """
    width = heads * 64
    model = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=heads,
        joint_attention_dim=256,
        caption_projection_dim=width,
        pooled_projection_dim=pooled,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
    )
    blocks = model.transformer_blocks  # adaLN-zero: every block starts as the identity
    zero(*(norm.linear for block in blocks for norm in (block.norm1, block.norm1_context)))
    zero(model.norm_out.linear, model.proj_out)
    return model


class Texts(text.Texts):
    """The three tokenizers and text encoders, combined as in SD3's pipeline."""

    def __init__(self, captions: list[str]) -> None:
        super().__init__()
        first = text.clip_tokenizer(captions, "<|endoftext|>")
        second = text.clip_tokenizer(captions, "!")
        t5 = text.t5_tokenizer(captions)
        self.tokenizers = (first, second, t5)
        self.encoder = text.clip_encoder(first, 96, 64)
        self.encoder_2 = text.clip_encoder(second, 128, 64)
        self.encoder_3 = text.t5_encoder(t5, 256)

    def forward(self, tokens: text.Tokens) -> tuple[Tensor, Tensor]:
        """Text features `[n, 36 + 36, 256]` and pooled vectors `[n, 128]`, as in SD3's pipeline."""
        device = self.encoder.device
        ids = [each.to(device).long() for each in tokens]
        first = self.encoder(ids[0], output_hidden_states=True)
        second = self.encoder_2(ids[1], output_hidden_states=True)
        clip = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        t5 = self.encoder_3(ids[2])[0]
        clip = nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return torch.cat([clip, t5], dim=1), torch.cat(
            [first.text_embeds, second.text_embeds], dim=-1
        )


class SD3(ImageModel):
    """Image tokens first, then CLIP's and T5's."""

    kind = StableDiffusion3Pipeline
    rows = 2 * text.LENGTH
    last_key = -1

    @staticmethod
    def built() -> SD3Transformer2DModel:
        """Of the sizes that are shipped."""
        return build()

    @classmethod
    def untrained(cls, captions: list[str], seed: int) -> SD3:
        """A new model, with tokenizers trained on the captions."""
        torch.manual_seed(seed)
        texts = Texts(captions)
        torch.manual_seed(seed)
        return cls(cls.built(), texts, TrainingAttention())

    def predict(
        self,
        network: Callable[..., Any],
        x: Tensor,
        sigma: Tensor,
        features: Tensor,
        pooled: Tensor,
        bias: Tensor,
        guidance: Tensor,
    ) -> Tensor:
        """`noise - image`; SD3 is not told its guidance."""
        velocity: Tensor = network(
            hidden_states=x,
            timestep=1000 * sigma,
            encoder_hidden_states=features,
            pooled_projections=pooled,
            joint_attention_kwargs={"bias": bias},
            return_dict=False,
        )[0]
        return velocity
