"""The judge's recipe: renders, and round trips of renders, with a little blur and noise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from counterflow.toybox.judge import Judge, right
from counterflow.toybox.scene import VALUES, Scene, fields_said
from counterflow.toybox.train import stage
from counterflow.toybox.train.data import HELD_OUT_SEEDS, TRAINING_SEEDS, pictures, scenes, to_model
from counterflow.toybox.train.vae import round_trip

UNSAID = -100
"""Label of a field that the scene does not have; the loss leaves it out."""


def labels(scenes: list[Scene]) -> Tensor:
    """Indices of values, `[n, fields]`."""
    return torch.tensor(
        [
            [
                values.index(getattr(scene, name)) if name in said else UNSAID
                for name, values in VALUES.items()
            ]
            for scene in scenes
            for said in [fields_said(scene)]
        ]
    )


def disturb(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Blur a third of the pictures, and lay a little noise over each."""
    n = len(pictures)
    soft = nn.functional.avg_pool2d(
        nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1
    )
    blurred = torch.rand(n, 1, 1, 1, generator=rng) < 1 / 3
    noise = torch.randn(pictures.shape, generator=rng)
    amount = 0.06 * torch.rand(n, 1, 1, 1, generator=rng)
    return torch.where(blurred, soft, pictures) + amount * noise


def train(
    folder: Path,
    log: stage.Log,
    autoencoder: AutoencoderKL,
    steps: int,
    seed: int,
    pictured: int,
    tripped: int = 4_000,
    batch: int = 64,
    held_out: int = 500,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Train and measure the judge; returns its folder, or None if time ran out."""
    out = folder / "judge"
    if out.exists():
        return out
    torch.manual_seed(seed)
    judge = Judge().to(device)
    kernels = list(judge.body.parameters())
    optimizers: list[stage.Optimizer] = [
        stage.Muon([p for p in kernels if p.ndim > 1], 3e-3),
        torch.optim.AdamW(
            [*judge.heads.parameters(), *(p for p in kernels if p.ndim == 1)],
            lr=1e-3,
            weight_decay=0.02,
        ),
    ]
    known = scenes(TRAINING_SEEDS, pictured)
    pool, truth = pictures(known), labels(known)
    tripped = min(tripped, pictured)
    autoencoder.to(device)
    trips = [
        to_bytes(round_trip(autoencoder, to_model(x.to(device)))).cpu()
        for x in pool[:tripped].split(50)
    ]
    autoencoder.cpu()
    pool, truth = torch.cat([pool, *trips]), torch.cat([truth, truth[:tripped]])
    log("judge", pictures=pictured, round_trips=tripped)

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 3_000_017 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng)
        x = disturb(to_model(pool[rows]), rng).to(device)
        for each in optimizers:
            stage.set_rate(each, stage.cosine(i, steps))
        with torch.autocast(device.type, torch.bfloat16):
            logits = judge(x)
        said = truth[rows].to(device)
        losses = [
            nn.functional.cross_entropy(
                logits[name].float(), said[:, k], ignore_index=UNSAID, reduction="sum"
            )
            for k, name in enumerate(VALUES)
        ]
        value = torch.stack(losses).sum() / (said != UNSAID).sum()
        stage.descend(value, judge.parameters(), *optimizers)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": judge}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizers)}
    if not stage.run("judge", steps, step, parts, folder, log, deadline=deadline):
        return None
    figures = measure(judge.cpu().eval(), autoencoder, 2 * held_out)
    for what, by_field in figures.items():
        log("judge", held_out=what, **by_field)
    part = out.with_suffix(".part")
    part.mkdir(exist_ok=True)
    # Half precision, but for the batch norms' statistics, which may be large.
    weights = {
        k: v if "running" in k or v.ndim == 0 else v.half() for k, v in judge.state_dict().items()
    }
    save_file({k: v.contiguous() for k, v in weights.items()}, part / "judge.safetensors")
    (part / "accuracy.json").write_text(json.dumps(figures, indent=2) + "\n")
    part.rename(out)
    return out


def measure(judge: Judge, autoencoder: AutoencoderKL, count: int) -> dict[str, dict[str, float]]:
    """Accuracy by field on held-out renders and on their round trips."""
    held_out = scenes(HELD_OUT_SEEDS, count)
    right_of: dict[str, dict[str, list[bool]]] = {"renders": {}, "round_trips": {}}
    for start in range(0, count, 50):
        part = held_out[start : start + 50]
        drawn = to_model(pictures(part))
        seen = {"renders": drawn, "round_trips": round_trip(autoencoder, drawn)}
        for what, shown in seen.items():
            for scene, reading in zip(part, judge.read_pixels(shown), strict=True):
                for name, ok in right(scene, reading).items():
                    right_of[what].setdefault(name, []).append(ok)
    return {
        what: {name: sum(found[name]) / len(found[name]) for name in VALUES}
        for what, found in right_of.items()
    }


def to_bytes(pictures: Tensor) -> Tensor:
    """−1…1 to uint8."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
