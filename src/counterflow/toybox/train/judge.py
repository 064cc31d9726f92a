"""Trains the judge on rendered pictures and on their round trips, with a little blur and noise.

A round trip is a picture that the autoencoder has encoded and decoded again.
"""

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

IGNORE_INDEX = -100
"""Label of a field that the scene does not have; the loss ignores it."""


def labels(scenes: list[Scene]) -> Tensor:
    """The index of each field's value in `VALUES`, `[n, fields]`; `IGNORE_INDEX` for no value."""
    return torch.tensor(
        [
            [
                values.index(getattr(scene, name)) if name in present else IGNORE_INDEX
                for name, values in VALUES.items()
            ]
            for scene in scenes
            for present in [fields_said(scene)]
        ]
    )


def disturb(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Blur about a third of the pictures, and add noise of standard deviation 0 to 0.06 to each.

    `pictures` are `[n, 3, h, w]` in −1…1; the result may lie a little outside that range.
    """
    n = len(pictures)
    blurred = nn.functional.avg_pool2d(
        nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1
    )
    is_blurred = torch.rand(n, 1, 1, 1, generator=rng) < 1 / 3
    noise = torch.randn(pictures.shape, generator=rng)
    deviation = 0.06 * torch.rand(n, 1, 1, 1, generator=rng)
    return torch.where(is_blurred, blurred, pictures) + deviation * noise


def train(
    folder: Path,
    log: stage.Log,
    autoencoder: AutoencoderKL,
    steps: int,
    seed: int,
    scene_count: int,
    round_trip_count: int = 4_000,
    batch: int = 64,
    held_out: int = 500,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Train and measure the judge, unless that is done already.

    It learns from `scene_count` scenes, and from round trips of the first `round_trip_count`; its
    accuracy is measured on `2 * held_out` others. Returns its folder, or None if `deadline`, a
    value of `time.monotonic()`, passed before the last step.
    """
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
    training = scenes(TRAINING_SEEDS, scene_count)
    pool, truth = pictures(training), labels(training)
    round_trip_count = min(round_trip_count, scene_count)
    autoencoder.to(device)
    trips = [
        to_bytes(round_trip(autoencoder, to_model(x.to(device)))).cpu()
        for x in pool[:round_trip_count].split(50)
    ]
    autoencoder.cpu()
    pool, truth = torch.cat([pool, *trips]), torch.cat([truth, truth[:round_trip_count]])
    log("judge", pictures=scene_count, round_trips=round_trip_count)

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 3_000_017 + i)
        rows = torch.randint(len(pool), (batch,), generator=rng)
        x = disturb(to_model(pool[rows]), rng).to(device)
        for each in optimizers:
            stage.set_rate(each, stage.cosine(i, steps))
        with stage.autocast(device):
            logits = judge(x)
        expected = truth[rows].to(device)
        losses = [
            nn.functional.cross_entropy(
                logits[name].float(), expected[:, k], ignore_index=IGNORE_INDEX, reduction="sum"
            )
            for k, name in enumerate(VALUES)
        ]
        value = torch.stack(losses).sum() / (expected != IGNORE_INDEX).sum()
        stage.descend(value, judge.parameters(), *optimizers)
        return {"loss": value.item()}

    parts: dict[str, stage.Stateful] = {"model": judge}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizers)}
    if not stage.run("judge", steps, step, parts, folder, log, deadline=deadline):
        return None
    accuracies = measure(judge.cpu().eval(), autoencoder, 2 * held_out)
    for kind, by_field in accuracies.items():
        log("judge", held_out=kind, **by_field)
    part = out.with_suffix(".part")
    part.mkdir(exist_ok=True)
    # Half precision, except the statistics of the batch norms, which may be too large for it.
    weights = {
        k: v if "running" in k or v.ndim == 0 else v.half() for k, v in judge.state_dict().items()
    }
    save_file({k: v.contiguous() for k, v in weights.items()}, part / "judge.safetensors")
    (part / "accuracy.json").write_text(json.dumps(accuracies, indent=2) + "\n")
    part.rename(out)
    return out


def measure(judge: Judge, autoencoder: AutoencoderKL, count: int) -> dict[str, dict[str, float]]:
    """Accuracy, 0…1, on `count` held-out scenes: by kind of picture, and then by field.

    The kinds are `renders` and `round_trips`.
    """
    held_out = scenes(HELD_OUT_SEEDS, count)
    correct: dict[str, dict[str, list[bool]]] = {"renders": {}, "round_trips": {}}
    for start in range(0, count, 50):
        part = held_out[start : start + 50]
        renders = to_model(pictures(part))
        batches = {"renders": renders, "round_trips": round_trip(autoencoder, renders)}
        for kind, batch in batches.items():
            for scene, reading in zip(part, judge.read_pixels(batch), strict=True):
                for name, is_right in right(scene, reading).items():
                    correct[kind].setdefault(name, []).append(is_right)
    return {
        kind: {name: sum(by_field[name]) / len(by_field[name]) for name in VALUES}
        for kind, by_field in correct.items()
    }


def to_bytes(pictures: Tensor) -> Tensor:
    """Convert pictures in −1…1 to uint8, rounded; values outside are clipped."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
