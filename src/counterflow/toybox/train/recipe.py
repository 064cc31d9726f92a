"""The whole recipe: autoencoder, latents, image model, and the pipeline folder they make."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from counterflow.toybox.captions import caption
from counterflow.toybox.train import stage, transformer, vae
from counterflow.toybox.train.data import TRAINING_SEEDS, scenes


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains. The defaults take about two hours on two cores."""

    seed: int = 1
    vae_steps: int = 4600
    scenes: int = 30_000
    phrasings: int = 4
    steps: int = 3000
    batch: int = 64
    decoder_steps: int = 2500
    compile: bool = True


def train(
    folder: Path, recipe: Recipe, log: stage.Log, stop_after: float | None = None
) -> Path | None:
    """Run every stage that is not done yet; returns the pipeline folder, or None if time ran out.

    Everything lies in `folder`: checkpoints, `log.jsonl` and at last `pipeline/`.
    """
    autoencoder = AutoencoderKL.from_pretrained(
        vae.train(folder, log, recipe.vae_steps, recipe.seed)
    ).eval()
    learned = scenes(TRAINING_SEEDS, recipe.scenes)
    torch.manual_seed(recipe.seed)
    texts = transformer.Texts([caption(scene) for scene in learned])
    data = transformer.dataset(autoencoder, texts, learned, recipe.phrasings, folder, log)
    trained = transformer.train(
        folder,
        log,
        data,
        texts,
        recipe.steps,
        recipe.seed,
        recipe.batch,
        compile=recipe.compile,
        stop_after=stop_after,
    )
    if trained is None:
        return None
    vae.refine(autoencoder, folder, log, recipe.decoder_steps, recipe.seed)
    return assemble(folder / "pipeline", autoencoder, *trained)


def assemble(
    out: Path, autoencoder: AutoencoderKL, model: torch.nn.Module, texts: transformer.Texts
) -> Path:
    """Write a genuine `StableDiffusion3Pipeline` folder in half precision."""
    fresh = transformer.build()
    fresh.load_state_dict(model.state_dict())
    pipeline = StableDiffusion3Pipeline(
        transformer=fresh,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder,
        text_encoder=texts.encoder,
        tokenizer=texts.tokenizer,
        text_encoder_2=texts.encoder_2,
        tokenizer_2=texts.tokenizer_2,
        text_encoder_3=texts.encoder_3,
        tokenizer_3=texts.tokenizer_3,
    ).to(torch.float16)
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out
