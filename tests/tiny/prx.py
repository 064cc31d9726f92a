"""PRX."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, PRXPipeline, PRXTransformer2DModel
from diffusers.pipelines.prx import pipeline_prx
from torch import Tensor

from counterflow.toybox.train import text
from tiny.parts import Tiny, autoencoder, captions, ready

if not hasattr(pipeline_prx, "ftfy"):  # it mends encodings; these prompts are plain
    pipeline_prx.ftfy = SimpleNamespace(fix_text=str)


def prx() -> Any:
    torch.manual_seed(28)
    tokenizer = text.t5_tokenizer(captions())
    transformer = PRXTransformer2DModel(
        in_channels=4,
        context_in_dim=24,
        hidden_size=32,
        mlp_ratio=2.0,
        num_heads=2,
        depth=3,
        axes_dim=[8, 8],
    )
    for block in transformer.blocks:  # they begin as nothing
        torch.nn.init.normal_(block.modulation.lin.weight, std=0.2)
    return ready(
        PRXPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            text_encoder=text.t5_encoder(tokenizer, 24),
            tokenizer=tokenizer,
            vae=autoencoder(),
            default_sample_size=64,
        )
    )


def prx_own(
    pipeline: Any, prompts: Sequence[str], noise: Tensor, guidance: float, options: dict[str, Any]
) -> Tensor:
    """Prompt by prompt: guided, it takes no batch."""
    made = [
        pipeline(
            prompt,
            latents=own,
            guidance_scale=guidance,
            use_resolution_binning=False,
            output_type="latent",
            **options,
        ).images
        for prompt, own in zip(prompts, noise.split(1), strict=True)
    ]
    return torch.cat(made)


TINY = {"prx": Tiny("prx", prx, prx_own)}
