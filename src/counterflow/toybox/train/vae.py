"""Trains the autoencoder, an `AutoencoderKL` with SD3's latents: 16 channels, 1/8 of the side."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from counterflow.toybox.scene import STYLES, Scene
from counterflow.toybox.train import stage
from counterflow.toybox.train.data import HELD_OUT_SEEDS, TRAINING_SEEDS, pictures, scenes, to_model


def build(channels: tuple[int, ...] = (16, 32, 64, 128)) -> AutoencoderKL:
    """A small untrained autoencoder: `[n, 3, h, w]` in −1…1 to latents `[n, 16, h/8, w/8]`."""
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


def loss(picture: Tensor, output: Tensor, square: float = 1.0) -> Tensor:
    """Mean absolute error + `square` · mean squared error + mean absolute error of the gradients.

    The last term, over differences of neighbouring pixels, keeps thin lines sharp.
    """
    error = output - picture
    edges = sum(error.diff(dim=dim).abs().mean() for dim in (-1, -2))
    return error.abs().mean() + square * error.square().mean() + edges


def optimizers(model: nn.Module) -> list[stage.Optimizer]:
    """Muon for the convolutions, AdamW for the rest.

    After 500 steps the PSNR is 5 dB higher than with AdamW for all.
    """
    kernels = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW(rest, lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.0)
    return [stage.Muon(kernels, 5e-3), adamw]


def train(
    folder: Path,
    log: stage.Log,
    steps: int,
    seed: int,
    scene_count: int,
    batch: int = 16,
    crop: int = 64,
    held_out: int = 500,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Train on random crops of `scene_count` rendered scenes, unless that is done already.

    Returns the saved folder, or None if `deadline`, a value of `time.monotonic()`, passed first.
    """
    out = folder / "vae"
    if out.exists():
        return out
    torch.manual_seed(seed)
    model = build().to(device)
    optimizer = optimizers(model)
    pool = pictures(scenes(TRAINING_SEEDS, scene_count))

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng).tolist()
        corners = torch.randint(128 - crop + 1, (batch, 2), generator=rng).tolist()
        crops = [
            pool[r, :, y : y + crop, x : x + crop] for r, (y, x) in zip(rows, corners, strict=True)
        ]
        x = to_model(torch.stack(crops).to(device))
        for each in optimizer:
            stage.set_rate(each, stage.cosine(i, steps))
        with stage.autocast(device):
            latent = model.encode(x).latent_dist
            noise = torch.randn(latent.mean.shape, generator=rng).to(device)
            y = model.decode(latent.mean + latent.std * noise).sample
        kl = latent.kl().float().mean() / latent.mean[0].numel()
        value = loss(x, y.float()) + 3e-4 * kl  # pulls a little towards a unit Gaussian
        stage.descend(value, model.parameters(), *optimizer)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": model}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizer)}
    if not stage.run("vae", steps, step, parts, folder, log, deadline=deadline):
        return None
    model.cpu()
    held_out_pictures = to_model(pictures(scenes(HELD_OUT_SEEDS, min(held_out, 200))))
    shift, scale = latent_statistics(model, held_out_pictures)
    model.register_to_config(shift_factor=shift, scaling_factor=scale)
    log("vae", held_out_psnr=psnr(model, held_out_pictures), shift=shift, scale=scale)
    model.save_pretrained(part := out.with_suffix(".part"))
    part.rename(out)  # a run that is stopped here must not leave a partial folder
    return out


def refine(
    encoded: Path,
    folder: Path,
    log: stage.Log,
    steps: int,
    seed: int,
    scene_count: int,
    batch: int = 4,
    held_out: int = 500,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Train only the decoder of the autoencoder in `encoded`, on whole pictures.

    The latents stay the same and the pictures become sharper. Every picture is encoded only once,
    so nearly all the time goes to the decoder. Returns the folder of the new autoencoder (`encoded`
    itself for 0 steps), or None if `deadline`, a value of `time.monotonic()`, passed first.
    """
    out = folder / "decoder"
    if out.exists() or not steps:
        return out if steps else encoded
    model = AutoencoderKL.from_pretrained(encoded).eval().to(device)
    optimizer = optimizers(model.decoder)
    pool = pictures(scenes(TRAINING_SEEDS, scene_count))
    with torch.no_grad():
        batches = [model.encode(to_model(x.to(device))).latent_dist.mode() for x in pool.split(50)]
    latents = torch.cat(batches)

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 2_000_003 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng)
        for each in optimizer:
            stage.set_rate(each, 0.5 * stage.cosine(i, steps))
        with stage.autocast(device):
            y = model.decode(latents[rows.to(device)]).sample
        value = loss(to_model(pool[rows].to(device)), y.float(), square=20.0)
        stage.descend(value, model.decoder.parameters(), *optimizer)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": model}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizer)}
    if not stage.run("decoder", steps, step, parts, folder, log, deadline=deadline):
        return None
    figures = by_style(model.cpu(), scenes(HELD_OUT_SEEDS, held_out))
    log("decoder", **{f"held_out_psnr_{style}": value for style, value in figures.items()})
    model.save_pretrained(part := out.with_suffix(".part"))
    part.rename(out)
    return out


def by_style(model: AutoencoderKL, scenes: list[Scene]) -> dict[str, float]:
    """Mean PSNR in dB of round trips: of all scenes, and of the scenes of each style."""
    groups = {style: [s for s in scenes if s.style == style] for style in STYLES}
    figures = {k: psnr(model, to_model(pictures(group))) for k, group in groups.items() if group}
    total = sum(figures[style] * len(groups[style]) for style in figures) / len(scenes)
    return {"all": total} | figures


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, pictures: Tensor) -> tuple[float, float]:
    """The (shift, scale) for which (latent − shift) · scale has mean 0 and variance 1."""
    latents = torch.cat([model.encode(part).latent_dist.mode() for part in pictures.split(20)])
    return latents.mean().item(), 1 / latents.std().item()


@torch.no_grad()
def psnr(model: AutoencoderKL, pictures: Tensor) -> float:
    """Mean PSNR in dB of the round trips of pictures `[n, 3, h, w]` in −1…1."""
    total = 0.0
    for part in pictures.split(20):
        mse = ((round_trip(model, part) - part) / 2).square().flatten(1).mean(1)
        total += (-10 * mse.log10()).sum().item()
    return total / len(pictures)


@torch.no_grad()
def round_trip(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Encode pictures `[n, 3, h, w]` in −1…1 and decode them again, clipped to −1…1."""
    decoded: Tensor = model.decode(model.encode(pictures).latent_dist.mode()).sample
    return decoded.clamp(-1, 1)
