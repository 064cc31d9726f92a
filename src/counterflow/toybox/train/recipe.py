"""Runs all stages: autoencoder, decoder, judge and image model, and writes the pipeline folder.

A stage of 0 steps is left out; without an autoencoder of its own the run takes the bundled one.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from counterflow.backbones.registry import toybox_folder
from counterflow.errors import InputError
from counterflow.prompts import words
from counterflow.toybox.captions import caption
from counterflow.toybox.scene import Scene
from counterflow.toybox.train import flux, judge, sd3, stage, transformer, vae
from counterflow.toybox.train.data import TRAINING_SEEDS, scenes
from counterflow.toybox.train.model import ImageModel

ARCHITECTURES: dict[str, type[ImageModel]] = {"sd3": sd3.SD3, "flux": flux.Flux}


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains, and on how much.

    The defaults take two to two and a half hours on two cores; `FLUX` has those of its
    architecture.
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
    architecture: str = "sd3"
    """One of `ARCHITECTURES`."""
    guidance_steps: int = 0
    """Steps of the image model in which it learns to be told its guidance (flux only)."""
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
BUNDLED = {"vae_steps": 0, "decoder_steps": 0, "judge_steps": 0}
"""With the bundled model's autoencoder and judge."""
FLUX = BUNDLED | {"steps": 2300, "brief_steps": 500, "guidance_steps": 300}
FLUX_LONGER = LONGER | BUNDLED | {"guidance_steps": 5000}


def choose(device: torch.device, architecture: str = "sd3", **given: Any) -> Recipe:
    """The recipe with the given values, and with defaults for those that are None.

    The defaults are those of the architecture and the device. Raises InputError for an unknown
    architecture, and for steps of guidance where it has no place for them.
    """
    if architecture not in ARCHITECTURES:
        known = " or ".join(ARCHITECTURES)
        raise InputError(f"--architecture is {known}, not {architecture!r:.80}")
    if architecture == "sd3" and given.get("guidance_steps"):
        raise InputError("--guidance-steps needs --architecture flux: SD3 is not told guidance")
    longer = device.type == "cuda"
    defaults: dict[str, int] = LONGER if longer else {}
    if architecture == "flux":
        defaults = FLUX_LONGER if longer else FLUX
    chosen = {name: value for name, value in given.items() if value is not None}
    return Recipe(**{**defaults, **chosen, "architecture": architecture})


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
    autoencoder = _autoencoder(folder, recipe, log, limits)
    if autoencoder is None:
        return None
    if recipe.judge_steps and not judge.train(
        folder, log, autoencoder, recipe.judge_steps, recipe.seed, recipe.judged, **limits
    ):
        return None
    training = scenes(TRAINING_SEEDS, recipe.scenes)
    architecture = ARCHITECTURES[recipe.architecture]
    model = architecture.untrained([caption(scene) for scene in training], recipe.seed)
    for number, (name, steps, rate) in enumerate(
        (
            ("transformer", recipe.steps, 1e-3),
            ("brief", recipe.brief_steps, 5e-4),  # with brief captions, too
            ("guidance", recipe.guidance_steps, 5e-4),
        )
    ):
        if not steps:
            continue
        data = transformer.dataset(
            autoencoder, model.texts, training, recipe.phrasings, folder, log, device, number > 0
        )
        trained = transformer.train(
            name,
            folder,
            log,
            data,
            model,
            steps,
            recipe.seed + number,
            recipe.batch,
            rate,
            distil=name == "guidance",
            compile=recipe.compile,
            deadline=deadline,
            device=device,
        )
        if trained is None:
            return None
        model = trained
    return assemble(folder / "pipeline", autoencoder, model, known_words(training, recipe))


def _autoencoder(
    folder: Path, recipe: Recipe, log: stage.Log, limits: dict[str, Any]
) -> AutoencoderKL | None:
    """The trained autoencoder, or the bundled one for 0 steps; None if the time ended first."""
    encoded: Path | None = toybox_folder() / "vae"
    if recipe.vae_steps:
        encoded = vae.train(folder, log, recipe.vae_steps, recipe.seed, recipe.vae_scenes, **limits)
    if encoded is None:
        return None
    count = min(4000, recipe.vae_scenes)
    refined = vae.refine(encoded, folder, log, recipe.decoder_steps, recipe.seed, count, **limits)
    return None if refined is None else AutoencoderKL.from_pretrained(refined).eval()


def claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe to a new folder, or check that the folder's run has the same recipe.

    Raises InputError for another recipe. `compile` may differ. What SD3 has no choice of is not
    written.
    """
    unsaid = {"compile", "architecture", "guidance_steps"}
    if recipe.architecture != "sd3":
        unsaid = {"compile"}
    settings = {k: v for k, v in asdict(recipe).items() if k not in unsaid}
    path, text = folder / "recipe.json", json.dumps(settings, indent=2) + "\n"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(text)
        part.rename(path)
    elif path.read_text() != text:
        raise InputError(f"{folder} holds a run of another recipe ({path}); use another folder")


def assemble(out: Path, autoencoder: AutoencoderKL, model: ImageModel, words: list[str]) -> Path:
    """Write a pipeline folder in half precision, which diffusers can load.

    Its file `words.json` lists the words that the model learned.
    """
    new_autoencoder = vae.build()  # the config of a loaded one would name its folder
    new_autoencoder.load_state_dict(autoencoder.state_dict())
    config = autoencoder.config
    new_autoencoder.register_to_config(
        shift_factor=config.shift_factor, scaling_factor=config.scaling_factor
    )
    pipeline = model.pipeline(new_autoencoder).to(torch.float16)
    for tokenizer in model.texts.tokenizers:
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
