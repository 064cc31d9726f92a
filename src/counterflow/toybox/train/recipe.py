"""Runs all stages: autoencoder, decoder, judge and image model, and writes the pipeline folder."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from counterflow.errors import InputError
from counterflow.prompts import words
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import Scene
from counterflow.toybox.train import judge, stage, transformer, vae
from counterflow.toybox.train.data import TRAINING_SEEDS, scenes


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains, and on how much.

    The defaults take two to two and a half hours on two cores.
    """

    seed: int = 1
    vae_steps: int = 4200
    vae_scenes: int = 8000
    scenes: int = 24_000
    """Number of scenes on which the image model is trained."""
    phrasings: int = 4
    """Number of captions of each scene; in the last stage every second one is brief."""
    steps: int = 2900
    """Steps of the image model with full captions only."""
    brief_steps: int = 700
    """Steps of the image model in the last stage, with full and brief captions."""
    batch: int = 64
    """Scenes in one step of the image model."""
    decoder_steps: int = 2500
    judge_steps: int = 2500
    judged: int = 12_000
    """Number of scenes on which the judge is trained."""
    held_out: int = 500
    """Number of scenes on which a stage is measured; the judge is measured on twice as many."""
    compile: bool = True
    """Speed up the image model with torch.compile, which needs a C++ compiler."""


LONGER = {
    "vae_steps": 20_000,
    "vae_scenes": 20_000,
    "scenes": 120_000,
    "steps": 40_000,
    "brief_steps": 10_000,
    "decoder_steps": 20_000,
    "judge_steps": 10_000,
    "judged": 40_000,
}
"""Defaults that replace those of `Recipe` on a GPU."""


def choose(device: torch.device, **given: Any) -> Recipe:
    """The recipe with the given values, and with the device's defaults for those that are None."""
    defaults = LONGER if device.type == "cuda" else {}
    return Recipe(**{**defaults, **{k: v for k, v in given.items() if v is not None}})


def train(
    folder: Path,
    recipe: Recipe,
    log: stage.Log,
    minutes: float | None = None,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Run every stage that is not done yet, for at most `minutes` if given.

    All files are written to `folder`: checkpoints, `recipe.json`, `log.jsonl`, `judge/` and, last,
    `pipeline/`. Returns the pipeline folder, or None if the time ended first; another call then
    continues. Raises InputError if the folder holds a run of another recipe.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    claim(folder, recipe)
    limits: dict[str, Any] = {"deadline": deadline, "device": device, "held_out": recipe.held_out}
    encoded = vae.train(folder, log, recipe.vae_steps, recipe.seed, recipe.vae_scenes, **limits)
    if encoded is None:
        return None
    count = min(4000, recipe.vae_scenes)
    refined = vae.refine(encoded, folder, log, recipe.decoder_steps, recipe.seed, count, **limits)
    if refined is None:
        return None
    autoencoder = AutoencoderKL.from_pretrained(refined).eval()
    judged = judge.train(
        folder, log, autoencoder, recipe.judge_steps, recipe.seed, recipe.judged, **limits
    )
    if judged is None:
        return None
    training = scenes(TRAINING_SEEDS, recipe.scenes)
    torch.manual_seed(recipe.seed)
    texts = transformer.Texts([caption(scene) for scene in training])
    torch.manual_seed(recipe.seed)
    model = transformer.build()
    for name, steps, seed, rate, brief in (
        ("transformer", recipe.steps, recipe.seed, 1e-3, False),
        ("brief", recipe.brief_steps, recipe.seed + 1, 5e-4, True),  # with brief captions, too
    ):
        data = transformer.dataset(
            autoencoder, texts, training, recipe.phrasings, folder, log, device, brief
        )
        trained = transformer.train(
            name,
            folder,
            log,
            data,
            model,
            texts,
            steps,
            seed,
            recipe.batch,
            rate,
            compile=recipe.compile,
            deadline=deadline,
            device=device,
        )
        if trained is None:
            return None
        model, texts = trained
    return assemble(folder / "pipeline", autoencoder, model, texts, known_words(training, recipe))


def claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe to a new folder, or check that the folder's run has the same recipe.

    Raises InputError for another recipe. `compile` may differ.
    """
    settings = {k: v for k, v in asdict(recipe).items() if k != "compile"}
    path, text = folder / "recipe.json", json.dumps(settings, indent=2) + "\n"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(text)
        part.rename(path)
    elif path.read_text() != text:
        raise InputError(f"{folder} holds a run of another recipe ({path}); use another folder")


def assemble(
    out: Path,
    autoencoder: AutoencoderKL,
    model: torch.nn.Module,
    texts: transformer.Texts,
    words: list[str],
) -> Path:
    """Write a `StableDiffusion3Pipeline` folder in half precision, which diffusers can load.

    Its file `words.json` lists the words that the model learned.
    """
    new_model = transformer.build()  # with diffusers' own attention
    new_model.load_state_dict(model.state_dict())
    new_autoencoder = vae.build()  # the config of a loaded one would name its folder
    new_autoencoder.load_state_dict(autoencoder.state_dict())
    config = autoencoder.config
    new_autoencoder.register_to_config(
        shift_factor=config.shift_factor, scaling_factor=config.scaling_factor
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=new_model,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=new_autoencoder,
        text_encoder=texts.encoder,
        tokenizer=texts.tokenizer,
        text_encoder_2=texts.encoder_2,
        tokenizer_2=texts.tokenizer_2,
        text_encoder_3=texts.encoder_3,
        tokenizer_3=texts.tokenizer_3,
    ).to(torch.float16)
    for tokenizer in (texts.tokenizer, texts.tokenizer_2, texts.tokenizer_3):
        tokenizer.backend_tokenizer.no_padding()  # as the last batch had set them
        tokenizer.backend_tokenizer.no_truncation()
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part, max_shard_size="15MB")
    for path in part.glob("text_encoder*/config.json"):
        # transformers loads in the dtype of the config, diffusers in float32. Now they agree.
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "float32"}, indent=2))
    (part / "words.json").write_text(json.dumps(words) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out


def known_words(scenes: list[Scene], recipe: Recipe) -> list[str]:
    """Every word of the captions with which the image model is trained, sorted."""
    phrasings = transformer.phrasings(scenes, recipe.phrasings)
    return sorted({word for captions in phrasings for each in captions for word in words(each)})
