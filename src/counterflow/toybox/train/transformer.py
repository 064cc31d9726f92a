"""Trains an image model, a transformer with its text encoders: flow matching, guidance."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from counterflow.toybox.captions import caption, omitted_fields
from counterflow.toybox.scene import Scene
from counterflow.toybox.train import stage, text
from counterflow.toybox.train.data import pictures, to_model
from counterflow.toybox.train.model import ImageModel

MOST_GUIDANCE = 5.0
"""A distilled model is taught guidance from 1 to this."""


@dataclass
class Dataset:
    """Latents of many scenes, and token ids of several captions of each."""

    latents: Tensor
    """Normalised, `[n, 16, 16, 16]`, half precision."""
    tokens: list[text.Tokens]
    """For each phrasing."""
    empty: text.Tokens
    """Of the empty prompt, one row."""


@torch.no_grad()
def encode(
    vae: AutoencoderKL, scenes: list[Scene], log: stage.Log, device: torch.device = stage.CPU
) -> Tensor:
    """Encode rendered scenes: normalised latents `[n, 16, 16, 16]` in half precision."""
    vae.to(device)
    out = torch.empty(len(scenes), 16, 16, 16, dtype=torch.float16)
    for start in range(0, len(scenes), 64):
        part = to_model(pictures(scenes[start : start + 64]).to(device))
        with stage.autocast(device):
            mode = vae.encode(part).latent_dist.mode().float()
        out[start : start + 64] = (mode - vae.config.shift_factor) * vae.config.scaling_factor
        if start % 6400 == 0:
            log("latents", done=start, of=len(scenes))
    vae.cpu()
    return out


def dataset(
    vae: AutoencoderKL,
    texts: text.Texts,
    scenes: list[Scene],
    count: int,
    folder: Path,
    log: stage.Log,
    device: torch.device = stage.CPU,
    brief: bool = False,
) -> Dataset:
    """The latents of scenes, and `count` captions of each, so that a scene varies in its words.

    With `brief` every second caption is brief. The latents are kept in `folder`, in `latents.pt`.
    """
    path = folder / "latents.pt"
    if not path.exists():
        stage.save(path, {"latents": encode(vae, scenes, log, device)})
    latents = torch.load(path, weights_only=True)["latents"]
    tokens = [texts.tokens(captions) for captions in phrasings(scenes, count, brief)]
    return Dataset(latents, tokens, texts.tokens([""]))


def phrasings(scenes: list[Scene], count: int, brief: bool = False) -> list[list[str]]:
    """`count` lists with a caption of every scene; with `brief` every second list is brief."""

    def describe(scene: Scene, p: int) -> str:
        phrasing = scene.seed * count + p
        return caption(scene, phrasing, omitted_fields(phrasing) if brief and p % 2 else ())

    return [[describe(scene, p) for scene in scenes] for p in range(count)]


def optimizers(model: ImageModel, rate: float) -> list[stage.Optimizer]:
    """Muon for the matrices of the transformer's blocks, AdamW for all other weights.

    A modulation, which is in a norm, is no such matrix.
    """
    matrices = [
        p
        for name, p in model.transformer.named_parameters()
        if p.ndim == 2 and "transformer_blocks" in name and ".norm" not in name
    ]
    in_muon = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in in_muon]
    return [
        stage.Muon(matrices, rate, decay=0.01),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def batch_of(data: Dataset, size: int, rng: torch.Generator) -> tuple[Tensor, text.Tokens]:
    """A random batch of `size`: latents, and the ids of their captions.

    About a tenth have the empty prompt instead, for classifier-free guidance.
    """
    rows = torch.randint(len(data.latents), (size,), generator=rng)
    phrasing = torch.randint(len(data.tokens), (size,), generator=rng)
    drop = torch.rand(size, generator=rng) < 0.1
    ids = []
    for i, empty in enumerate(data.empty):
        chosen = torch.stack(
            [data.tokens[p][i][r] for p, r in zip(phrasing.tolist(), rows.tolist(), strict=True)]
        )
        ids.append(torch.where(drop[:, None], empty, chosen))
    return data.latents[rows].float(), tuple(ids)


def train(
    name: str,
    folder: Path,
    log: stage.Log,
    data: Dataset,
    model: ImageModel,
    steps: int,
    seed: int,
    batch: int = 64,
    rate: float = 1e-3,
    distil: bool = False,
    compile: bool = True,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> ImageModel | None:
    """Continue to train `model` by flow matching, as the stage called `name`.

    With the latent x, noise ε and σ in 0…1, the model learns the velocity ε − x at (1 − σ) x + σ ε
    (rectified flow, Liu et al. 2022, arXiv:2209.03003); σ is logit-normal (Esser et al. 2024,
    arXiv:2403.03206). With `distil` it is told a guidance and learns the guided velocity of the
    model that it was instead (Meng et al. 2023, arXiv:2210.03142). Returns the model with averaged
    weights, or None if `deadline`, a value of `time.monotonic()`, passed before the last step.
    """
    model.to(device)
    teacher = Teacher(model, data.empty, compile) if distil else None
    if distil:
        model.learn_guidance()
    warmup = 50 if distil else 200
    optimizer = optimizers(model, rate)
    average = stage.Average(model)
    network = torch.compile(model.transformer) if compile else model.transformer

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + i)
        x, tokens = batch_of(data, batch, rng)
        x, noise = x.to(device), torch.randn(x.shape, generator=rng).to(device)
        sigma = torch.sigmoid(torch.randn(batch, generator=rng) + 0.2).to(device)
        s = sigma[:, None, None, None]
        # One padding token with the bias log n acts as n of them. A random n teaches the model
        # every length of padding.
        longest = float(256 - text.LENGTH + 1)
        pads = torch.exp(torch.rand(batch, generator=rng) * torch.log(torch.tensor(longest)))
        # About half of the pooled vectors are another caption's, so the model must use the tokens.
        pooled_rows = torch.where(
            torch.rand(batch, generator=rng) < 0.5,
            torch.randperm(batch, generator=rng),
            torch.arange(batch),
        )
        for each in optimizer:
            stage.set_rate(each, stage.cosine(i, steps, warmup))
        told = ((1 - s) * x + s * noise, sigma, tokens, pads, pooled_rows)
        guidance, target = None, noise - x
        with stage.autocast(device):
            if teacher is not None:
                guidance = 1 + (MOST_GUIDANCE - 1) * torch.rand(batch, generator=rng)
                target = teacher(*told, guidance=guidance)
            velocity = model.velocity(network, *told, guidance)
        value = (velocity.float() - target).square().mean()
        norm = stage.descend(value, model.parameters(), *optimizer)
        average.update(model, i)
        return {"loss": value.item(), "gradient": norm}

    parts: dict[str, stage.Stateful] = {"networks": model, "average": average}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizer)}
    if not stage.run(name, steps, step, parts, folder, log, deadline=deadline):
        return None
    model.load_state_dict(average.shadow)
    return model.cpu()


class Teacher:
    """A frozen copy of a model, with classifier-free guidance."""

    def __init__(self, model: ImageModel, empty: text.Tokens, compile: bool) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.empty = empty
        transformer = self.model.transformer
        self.network = torch.compile(transformer) if compile else transformer

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        tokens: text.Tokens,
        pads: Tensor,
        pooled_rows: Tensor,
        guidance: Tensor,
    ) -> Tensor:
        """u + g (c − u), of the velocities with the empty prompt and with the captions."""
        empty = tuple(ids.expand(len(x), -1) for ids in self.empty)
        c = self.model.velocity(self.network, x, sigma, tokens, pads, pooled_rows).float()
        u = self.model.velocity(self.network, x, sigma, empty, pads).float()
        return u + guidance.to(x.device)[:, None, None, None] * (c - u)
