"""Inversions as files: safetensors with the trajectory, the picture and what made them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from counterflow.backbones.base import Backbone
from counterflow.edit.settings import InvertSettings
from counterflow.errors import CounterflowError, InputError, ModelError
from counterflow.flow import Grid
from counterflow.images import save_bytes_atomically
from counterflow.inversion.trajectory import Trajectory

VERSION = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Stored:
    """What a file holds."""

    model: str
    """`Backbone.identity` of the model that made it."""
    prompt: str
    size: tuple[int, int]
    trajectory: Trajectory
    settings: InvertSettings
    forwards: int
    seconds: float
    picture: Image.Image


def write(path: str | Path, stored: Stored, half: bool) -> None:
    """Write an inversion, whole or not at all."""
    if Path(path).suffix.lower() != SUFFIX:
        raise InputError(f"{path} must end in {SUFFIX}")
    kind = torch.float16 if half else torch.float32
    tensors = {
        "latents": stored.trajectory.latents.detach().cpu().to(kind).contiguous(),
        "picture": torch.from_numpy(np.array(stored.picture.convert("RGB"))),
    }
    known = {
        "version": VERSION,
        "model": stored.model,
        "prompt": stored.prompt,
        "size": list(stored.size),
        "sigmas": list(stored.trajectory.grid.sigmas),
        "settings": stored.settings.to_dict(),
        "forwards": stored.forwards,
        "seconds": stored.seconds,
    }
    save_bytes_atomically(path, to_bytes(tensors, {"counterflow": json.dumps(known)}))


def read(path: str | Path) -> Stored:
    """Read an inversion and check it in itself; InputError for what is none or is cut short."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            known = json.loads((file.metadata() or {})["counterflow"])
            if known["version"] != VERSION:
                made = f"{path} is an inversion of version {known['version']}"
                raise InputError(f"{made}, this reads version {VERSION}: invert again")
            latents, picture = (file.get_tensor(name) for name in ("latents", "picture"))
        return _stored(known, latents, picture)
    except CounterflowError:
        raise
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is no inversion, or damaged ({error}): invert again") from None


def _stored(known: dict[str, Any], latents: torch.Tensor, picture: torch.Tensor) -> Stored:
    width, height = (int(n) for n in known["size"])
    trajectory = Trajectory(latents.float(), Grid(tuple(known["sigmas"])))
    settings = InvertSettings.from_dict(known["settings"])
    if settings.steps != trajectory.grid.steps:
        raise ValueError(f"its settings say {settings.steps} steps")
    if not torch.isfinite(trajectory.latents).all():
        raise ValueError("its latents are not finite")
    return Stored(
        str(known["model"]),
        str(known["prompt"]),
        (width, height),
        trajectory,
        settings,
        int(known["forwards"]),
        float(known["seconds"]),
        Image.fromarray(picture.numpy()),
    )


def check_model(stored: Stored, path: str | Path, backbone: Backbone) -> None:
    """ModelError, naming both sides, for another model; the same one may have moved."""
    ours, theirs = (name.rpartition("@")[2] for name in (backbone.identity, stored.model))
    if ours != theirs:
        raise ModelError(f"{path} was made by {stored.model}, this is {backbone.identity}")
    shape = tuple(stored.trajectory.latents.shape[1:])
    if shape != backbone.latent_shape(stored.size):
        raise InputError(f"{path} holds latents {shape}, which are not of a picture {stored.size}")
