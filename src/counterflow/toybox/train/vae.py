"""The autoencoder: `AutoencoderKL` with SD3's latent geometry (factor 8, 16 channels)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from counterflow.toybox.train import stage
from counterflow.toybox.train.data import HELD_OUT_SEEDS, TRAINING_SEEDS, pictures, scenes, to_model


def build(channels: tuple[int, ...] = (16, 32, 64, 128)) -> AutoencoderKL:
    """A small untrained autoencoder of three halvings and 16 latent channels."""
    blocks = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=128,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def loss(picture: Tensor, output: Tensor, kl: Tensor) -> Tensor:
    """L1 + L2 + L1 of the gradients (thin lines count) + a faint pull to a unit Gaussian."""
    error = output - picture
    edges = sum(error.diff(dim=dim).abs().mean() for dim in (-1, -2))
    return error.abs().mean() + error.square().mean() + edges + 3e-4 * kl.mean()


def train(
    folder: Path,
    log: stage.Log,
    steps: int,
    seed: int,
    batch: int = 16,
    crop: int = 64,
    pictured: int = 6000,
    deadline: float = math.inf,
) -> Path | None:
    """Train on crops of fresh renders; returns the saved folder, or None if time ran out."""
    out = folder / "vae"
    if out.exists():
        return out
    torch.manual_seed(seed)
    model = build()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.5e-3, betas=(0.9, 0.99), weight_decay=1e-4
    )
    pool = pictures(scenes(TRAINING_SEEDS, pictured))

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng).tolist()
        corners = torch.randint(128 - crop + 1, (batch, 2), generator=rng).tolist()
        crops = [
            pool[r, :, y : y + crop, x : x + crop] for r, (y, x) in zip(rows, corners, strict=True)
        ]
        x = to_model(torch.stack(crops))
        stage.set_rate(optimizer, stage.cosine(i, steps))
        with torch.autocast("cpu", torch.bfloat16):
            latent = model.encode(x).latent_dist
            y = model.decode(
                latent.mean + latent.std * torch.randn(latent.mean.shape, generator=rng)
            ).sample
        value = loss(x, y.float(), latent.kl().float() / latent.mean[0].numel())
        stage.descend(value, model.parameters(), optimizer)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": model, "optimizer": optimizer}
    if not stage.run("vae", steps, step, parts, folder, log, deadline=deadline):
        return None
    held_out = to_model(pictures(scenes(HELD_OUT_SEEDS, 200)))
    shift, scale = latent_statistics(model, held_out)
    model.register_to_config(shift_factor=shift, scaling_factor=scale)
    log("vae", held_out_psnr=psnr(model, held_out), shift=shift, scale=scale)
    model.save_pretrained(part := out.with_suffix(".part"))
    part.rename(out)  # a kill leaves no half folder that would count as done
    return out


def refine(
    model: AutoencoderKL,
    folder: Path,
    log: stage.Log,
    steps: int,
    seed: int,
    batch: int = 4,
    pictured: int = 4000,
    deadline: float = math.inf,
) -> bool:
    """Train the decoder alone, on whole pictures: sharper pictures, the same latents.

    The encoder's work is done once, so nearly all the time goes to what is learned. Returns
    False if time ran out.
    """
    if not steps:
        return True
    optimizer = torch.optim.AdamW(
        model.decoder.parameters(), lr=6e-4, betas=(0.9, 0.99), weight_decay=1e-4
    )
    pool = pictures(scenes(TRAINING_SEEDS, pictured))
    with torch.no_grad():
        latents = torch.cat([model.encode(to_model(x)).latent_dist.mode() for x in pool.split(50)])

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 2_000_003 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng)
        stage.set_rate(optimizer, stage.cosine(i, steps))
        with torch.autocast("cpu", torch.bfloat16):
            y = model.decode(latents[rows]).sample
        value = loss(to_model(pool[rows]), y.float(), torch.zeros(()))
        stage.descend(value, model.decoder.parameters(), optimizer)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": model, "optimizer": optimizer}
    if not stage.run("decoder", steps, step, parts, folder, log, deadline=deadline):
        return False
    held_out = to_model(pictures(scenes(HELD_OUT_SEEDS, 200)))
    log("decoder", held_out_psnr=psnr(model, held_out))
    return True


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, pictures: Tensor) -> tuple[float, float]:
    """The shift and scale that give the latents mean 0 and variance 1."""
    latents = torch.cat([model.encode(part).latent_dist.mode() for part in pictures.split(20)])
    return latents.mean().item(), 1 / latents.std().item()


@torch.no_grad()
def psnr(model: AutoencoderKL, pictures: Tensor) -> float:
    """Mean PSNR in dB of a round trip, over pictures in −1…1."""
    total = 0.0
    for part in pictures.split(20):
        back = model.decode(model.encode(part).latent_dist.mode()).sample.clamp(-1, 1)
        mse = ((back - part) / 2).square().flatten(1).mean(1)
        total += (-10 * mse.log10()).sum().item()
    return total / len(pictures)
