"""The FLUX.1 architecture: a `FluxTransformer2DModel`, a CLIP's pooled vector and a T5.

The text encoders are those of the bundled model, frozen. Its T5 tells what a token says and not
where, and FLUX gives text no positions: a layer here adds them (`text.t5_positions`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from counterflow.backbones.mmdit import pack, places, unpack
from counterflow.backbones.registry import toybox_folder
from counterflow.toybox.train import text
from counterflow.toybox.train.attention import FluxTrainingAttention
from counterflow.toybox.train.model import ImageModel, zero


def build(
    double: int = 4, single: int = 4, heads: int = 4, words: int = 264, pooled: int = 96
) -> FluxTransformer2DModel:
    """A small untrained transformer like FLUX.1 dev's, for packed latents of 16 channels.

    `double` and `single` are its numbers of blocks, `words` and `pooled` the sizes of a token's
    features and of the pooled text vector.
    """
    model = FluxTransformer2DModel(
        in_channels=64,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=64,
        num_attention_heads=heads,
        joint_attention_dim=words,
        pooled_projection_dim=pooled,
        guidance_embeds=True,
        axes_dims_rope=(16, 24, 24),
    )
    for block in model.transformer_blocks:  # adaLN-zero: every block starts as the identity
        zero(block.norm1.linear, block.norm1_context.linear)
    zero(*(block.norm.linear for block in model.single_transformer_blocks))
    zero(model.norm_out.linear, model.proj_out)
    guidance = model.time_text_embed.guidance_embedder.requires_grad_(False)
    zero(guidance.linear_2)
    return model


class Texts(text.Texts):
    """The bundled model's first CLIP and its T5, which also learns positions."""

    def __init__(self) -> None:
        super().__init__()
        folder = toybox_folder()
        self.tokenizers = (
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            T5Tokenizer.from_pretrained(folder / "tokenizer_3"),
        )
        clip = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").text_model
        t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_3")
        self.encoder = clip.float().eval().requires_grad_(False)
        self.encoder_2 = text.t5_positions(t5.float()).eval()

    def forward(self, tokens: text.Tokens) -> tuple[Tensor, Tensor]:
        """T5's features `[n, 36, 264]` and CLIP's pooled vectors `[n, 96]`."""
        ids = [each.to(self.encoder.device).long() for each in tokens]
        return self.encoder_2(ids[1])[0], self.encoder(ids[0]).pooler_output


class Flux(ImageModel):
    """T5's tokens first, then the image's; told its guidance."""

    kind = FluxPipeline
    rows = text.LENGTH
    last_key = text.LENGTH - 1

    @staticmethod
    def built() -> FluxTransformer2DModel:
        """Of the sizes that are shipped."""
        return build()

    @classmethod
    def untrained(cls, captions: list[str], seed: int) -> Flux:
        """A new model; its tokenizers are the bundled model's, whatever the captions."""
        texts = Texts()
        torch.manual_seed(seed)
        return cls(cls.built(), texts, FluxTrainingAttention())

    def learn_guidance(self) -> None:
        """Train the embedding of guidance, which is 0 until then."""
        self.transformer.time_text_embed.guidance_embedder.requires_grad_(True)

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
        """`noise - image`; latents are packed in squares of 2×2 cells."""
        ids = places(self.rows, x.shape[2] // 2, x.shape[3] // 2, x.device)
        velocity: Tensor = network(
            hidden_states=pack(x),
            timestep=sigma,
            guidance=guidance,
            encoder_hidden_states=features,
            pooled_projections=pooled,
            txt_ids=ids[: self.rows],
            img_ids=ids[self.rows :],
            joint_attention_kwargs={"bias": bias},
            return_dict=False,
        )[0]
        return unpack(velocity.float(), x)
