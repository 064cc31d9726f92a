"""Trains the image model: an `SD3Transformer2DModel` and its text encoders, by flow matching."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import Tensor, nn

from counterflow.toybox.captions import caption, omitted_fields
from counterflow.toybox.scene import Scene
from counterflow.toybox.train import stage, text
from counterflow.toybox.train.attention import TrainingAttention
from counterflow.toybox.train.data import pictures, to_model

T5_CONTENT = 36
"""T5 tokens of a caption in training; the last is padding and represents all that follow it."""


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
    for block in model.transformer_blocks:  # adaLN-zero: every block starts as the identity
        for norm in (block.norm1, block.norm1_context):
            nn.init.zeros_(norm.linear.weight)
            nn.init.zeros_(norm.linear.bias)
    nn.init.zeros_(model.norm_out.linear.weight)
    nn.init.zeros_(model.norm_out.linear.bias)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model


class Texts(nn.Module):
    """The three tokenizers and text encoders, combined as in SD3's pipeline."""

    def __init__(self, captions: list[str]) -> None:
        super().__init__()
        self.tokenizer = text.clip_tokenizer(captions, "<|endoftext|>")
        self.tokenizer_2 = text.clip_tokenizer(captions, "!")
        self.tokenizer_3 = text.t5_tokenizer(captions)
        self.encoder = text.clip_encoder(self.tokenizer, 96, 64)
        self.encoder_2 = text.clip_encoder(self.tokenizer_2, 128, 64)
        self.encoder_3 = text.t5_encoder(self.tokenizer_3, 256)

    def tokens(self, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids for the three encoders, int16 `[n, length]` each."""

        def ids(tokenizer: object, length: int) -> Tensor:
            code = tokenizer(captions, padding="max_length", max_length=length, truncation=True)  # type: ignore[operator]
            return torch.tensor(code.input_ids, dtype=torch.int16)

        return (
            ids(self.tokenizer, text.LENGTH),
            ids(self.tokenizer_2, text.LENGTH),
            ids(self.tokenizer_3, T5_CONTENT),
        )

    def forward(self, tokens: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
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


@dataclass
class Dataset:
    """Latents of many scenes, and token ids of several captions of each."""

    latents: Tensor
    """Normalised, `[n, 16, 16, 16]`, half precision."""
    tokens: list[tuple[Tensor, Tensor, Tensor]]
    """For each phrasing the ids for the three encoders, `[n, length]` each."""
    empty: tuple[Tensor, Tensor, Tensor]
    """The ids of the empty prompt, `[1, length]` each."""


@torch.no_grad()
def encode(
    vae: AutoencoderKL, scenes: list[Scene], log: stage.Log, device: torch.device = stage.CPU
) -> Tensor:
    """Encode rendered scenes: normalised latents `[n, 16, 16, 16]` in half precision."""
    vae.to(device)
    out = torch.empty(len(scenes), 16, 16, 16, dtype=torch.float16)
    for start in range(0, len(scenes), 64):
        part = to_model(pictures(scenes[start : start + 64]).to(device))
        with torch.autocast(device.type, torch.bfloat16):
            mode = vae.encode(part).latent_dist.mode().float()
        out[start : start + 64] = (mode - vae.config.shift_factor) * vae.config.scaling_factor
        if start % 6400 == 0:
            log("latents", done=start, of=len(scenes))
    vae.cpu()
    return out


def dataset(
    vae: AutoencoderKL,
    texts: Texts,
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


def optimizers(model: nn.Module, texts: nn.Module, rate: float) -> list[stage.Optimizer]:
    """Muon for the matrices of the transformer's blocks, AdamW for all other weights."""
    matrices = [
        p
        for name, p in model.named_parameters()
        if p.ndim == 2 and "transformer_blocks" in name and ".norm1" not in name
    ]
    in_muon = {id(p) for p in matrices}
    rest = [p for p in [*model.parameters(), *texts.parameters()] if id(p) not in in_muon]
    return [
        stage.Muon(matrices, rate, decay=0.01),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def batch_of(
    data: Dataset, size: int, rng: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
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
    return data.latents[rows].float(), (ids[0], ids[1], ids[2])


def train(
    name: str,
    folder: Path,
    log: stage.Log,
    data: Dataset,
    model: SD3Transformer2DModel,
    texts: Texts,
    steps: int,
    seed: int,
    batch: int = 64,
    rate: float = 1e-3,
    compile: bool = True,
    deadline: float = math.inf,
    device: torch.device = stage.CPU,
) -> tuple[SD3Transformer2DModel, Texts] | None:
    """Continue to train `model` and `texts` by flow matching, as the stage called `name`.

    With the latent x, noise ε and σ in 0…1, the model learns the velocity ε − x at (1 − σ) x + σ ε
    (rectified flow, Liu et al. 2022, arXiv:2209.03003); σ is logit-normal (Esser et al. 2024,
    arXiv:2403.03206). Returns both with their averaged weights, or None if `deadline`, a value of
    `time.monotonic()`, passed before the last step.
    """
    model.set_attn_processor(TrainingAttention())
    networks = nn.ModuleDict({"transformer": model, "texts": texts}).to(device)
    optimizer = optimizers(model, texts, rate)
    average = stage.Average(networks)
    forward = torch.compile(model) if compile else model
    image_tokens, stream = 64, text.LENGTH + T5_CONTENT

    def step(i: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + i)
        x, tokens = batch_of(data, batch, rng)
        x, noise = x.to(device), torch.randn(x.shape, generator=rng).to(device)
        sigma = torch.sigmoid(torch.randn(batch, generator=rng) + 0.2).to(device)
        s = sigma[:, None, None, None]
        # T5 has no positions, so one padding token with the bias log n acts as n of them. A random
        # n teaches the model every length of padding.
        longest = float(256 - T5_CONTENT + 1)
        pads = torch.exp(torch.rand(batch, generator=rng) * torch.log(torch.tensor(longest)))
        padded = tokens[2][:, -1] == texts.tokenizer_3.pad_token_id
        bias = torch.zeros(batch, 1, 1, image_tokens + stream)
        bias[..., -1] = torch.where(padded, pads.log(), 0.0)[:, None, None]
        # About half of the pooled vectors are another caption's, so the model must use the tokens.
        pooled_rows = torch.where(
            torch.rand(batch, generator=rng) < 0.5,
            torch.randperm(batch, generator=rng),
            torch.arange(batch),
        )
        for each in optimizer:
            stage.set_rate(each, stage.cosine(i, steps))
        with torch.autocast(device.type, torch.bfloat16):
            features, pooled = texts(tokens)
            velocity = forward(
                hidden_states=(1 - s) * x + s * noise,
                timestep=1000 * sigma,
                encoder_hidden_states=features,
                pooled_projections=pooled[pooled_rows.to(device)],
                joint_attention_kwargs={"bias": bias.to(device)},
                return_dict=False,
            )[0]
        value = (velocity.float() - (noise - x)).square().mean()
        norm = stage.descend(value, networks.parameters(), *optimizer)
        average.update(networks, i)
        return {"loss": value.item(), "gradient": norm}

    parts: dict[str, stage.Stateful] = {"networks": networks, "average": average}
    parts |= {f"optimizer{i}": each for i, each in enumerate(optimizer)}
    if not stage.run(name, steps, step, parts, folder, log, deadline=deadline):
        return None
    networks.load_state_dict(average.shadow)
    networks.cpu()
    return model, texts
