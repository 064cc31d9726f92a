"""The whole recipe: autoencoder, latents, image model, and the pipeline folder they make."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from counterflow.errors import InputError
from counterflow.toybox.captions import caption
from counterflow.toybox.train import stage, transformer, vae
from counterflow.toybox.train.data import TRAINING_SEEDS, scenes


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains. The defaults take about two hours on two cores."""

    seed: int = 1
    vae_steps: int = 4600
    vae_scenes: int = 6000
    scenes: int = 30_000
    phrasings: int = 4
    steps: int = 2500
    batch: int = 64
    decoder_steps: int = 1500
    compile: bool = True


def train(
    folder: Path, recipe: Recipe, log: stage.Log, minutes: float | None = None
) -> Path | None:
    """Run every stage that is not done yet; returns the pipeline folder, or None if time ran out.

    Everything lies in `folder`: checkpoints, `recipe.json`, `log.jsonl` and at last `pipeline/`.
    Raises InputError if the folder holds another recipe's run.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    claim(folder, recipe)
    encoded = vae.train(
        folder, log, recipe.vae_steps, recipe.seed, pictured=recipe.vae_scenes, deadline=deadline
    )
    if encoded is None:
        return None
    autoencoder = AutoencoderKL.from_pretrained(encoded).eval()
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
        deadline=deadline,
    )
    if trained is None:
        return None
    refined = vae.refine(
        autoencoder,
        folder,
        log,
        recipe.decoder_steps,
        recipe.seed,
        pictured=min(4000, recipe.vae_scenes),
        deadline=deadline,
    )
    if not refined:
        return None
    return assemble(folder / "pipeline", autoencoder, *trained)


def claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe beside its run, or check that this run's folder belongs to it."""
    decides = {k: v for k, v in asdict(recipe).items() if k != "compile"}
    path, text = folder / "recipe.json", json.dumps(decides, indent=2) + "\n"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(text)
        part.rename(path)
    elif path.read_text() != text:
        raise InputError(f"{folder} holds a run of another recipe ({path}); use another folder")


def assemble(
    out: Path, autoencoder: AutoencoderKL, model: torch.nn.Module, texts: transformer.Texts
) -> Path:
    """Write a genuine `StableDiffusion3Pipeline` folder in half precision."""
    fresh = transformer.build()
    fresh.load_state_dict(model.state_dict())
    coder = vae.build()  # also fresh: a loaded one remembers from which folder
    coder.load_state_dict(autoencoder.state_dict())
    known = autoencoder.config
    coder.register_to_config(shift_factor=known.shift_factor, scaling_factor=known.scaling_factor)
    pipeline = StableDiffusion3Pipeline(
        transformer=fresh,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=coder,
        text_encoder=texts.encoder,
        tokenizer=texts.tokenizer,
        text_encoder_2=texts.encoder_2,
        tokenizer_2=texts.tokenizer_2,
        text_encoder_3=texts.encoder_3,
        tokenizer_3=texts.tokenizer_3,
    ).to(torch.float16)
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part, max_shard_size="15MB")
    for config in part.glob("text_encoder*/config.json"):
        # Transformers loads what the config says, diffusers float32: so both do by default.
        config.write_text(
            json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2)
        )
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out
