"""The whole recipe: autoencoder, decoder, judge, image model, and the pipeline folder they make."""

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
    """How long each stage trains; every second one of `phrasings` is brief in the last stage.

    The defaults take two to two and a half hours on two cores.
    """

    seed: int = 1
    vae_steps: int = 4200
    vae_scenes: int = 8000
    scenes: int = 24_000
    phrasings: int = 4
    steps: int = 2900
    brief_steps: int = 700
    batch: int = 64
    decoder_steps: int = 2500
    judge_steps: int = 2500
    judged: int = 12_000
    held_out: int = 500
    compile: bool = True


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
"""What is trained longer, by default, where there is a GPU."""


def choose(device: torch.device, **given: Any) -> Recipe:
    """The recipe for a device: what is given, and its defaults for what is None."""
    longer = LONGER if device.type == "cuda" else {}
    return Recipe(**{**longer, **{k: v for k, v in given.items() if v is not None}})


def train(
    folder: Path,
    recipe: Recipe,
    log: stage.Log,
    minutes: float | None = None,
    device: torch.device = stage.CPU,
) -> Path | None:
    """Run every stage that is not done yet; returns the pipeline folder, or None if time ran out.

    Everything lies in `folder`: checkpoints, `recipe.json`, `log.jsonl`, `judge/` and at last
    `pipeline/`.
    Raises InputError if the folder holds another recipe's run.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    claim(folder, recipe)
    limits: dict[str, Any] = {"deadline": deadline, "device": device, "held_out": recipe.held_out}
    encoded = vae.train(folder, log, recipe.vae_steps, recipe.seed, recipe.vae_scenes, **limits)
    if encoded is None:
        return None
    few = min(4000, recipe.vae_scenes)
    refined = vae.refine(encoded, folder, log, recipe.decoder_steps, recipe.seed, few, **limits)
    if refined is None:
        return None
    autoencoder = AutoencoderKL.from_pretrained(refined).eval()
    judged = judge.train(
        folder, log, autoencoder, recipe.judge_steps, recipe.seed, recipe.judged, **limits
    )
    if judged is None:
        return None
    learned = scenes(TRAINING_SEEDS, recipe.scenes)
    torch.manual_seed(recipe.seed)
    texts = transformer.Texts([caption(scene) for scene in learned])
    torch.manual_seed(recipe.seed)
    model = transformer.build()
    for name, steps, seed, rate, brief in (
        ("transformer", recipe.steps, recipe.seed, 1e-3, False),
        ("brief", recipe.brief_steps, recipe.seed + 1, 5e-4, True),  # captions that say less, too
    ):
        data = transformer.dataset(
            autoencoder, texts, learned, recipe.phrasings, folder, log, device, brief
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
    return assemble(folder / "pipeline", autoencoder, model, texts, known_words(learned, recipe))


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
    out: Path,
    autoencoder: AutoencoderKL,
    model: torch.nn.Module,
    texts: transformer.Texts,
    words: list[str],
) -> Path:
    """Write a genuine `StableDiffusion3Pipeline` folder in half precision.

    `words.json` in it lists the words that the model learned.
    """
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
    for tokenizer in (texts.tokenizer, texts.tokenizer_2, texts.tokenizer_3):
        tokenizer.backend_tokenizer.no_padding()  # what the last batch set
        tokenizer.backend_tokenizer.no_truncation()
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part, max_shard_size="15MB")
    for config in part.glob("text_encoder*/config.json"):
        # Transformers loads what the config says, diffusers float32: so both do by default.
        config.write_text(
            json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2)
        )
    (part / "words.json").write_text(json.dumps(words) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out


def known_words(scenes: list[Scene], recipe: Recipe) -> list[str]:
    """Every word of the captions that the scenes were learned with, in order."""
    said = transformer.phrasings(scenes, recipe.phrasings)
    return sorted({word for captions in said for each in captions for word in words(each)})
