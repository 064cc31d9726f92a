"""Inversions as files: safetensors with the trajectory, the picture and what made them.

Version 2 names its method; version 1, of before there were methods, is read as FTEdit's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from counterflow.backbones.base import Backbone, Conditioning
from counterflow.edit.inversion import Inversion
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError, ModelError
from counterflow.flow import Grid
from counterflow.methods.base import Method
from counterflow.methods.registry import from_record
from counterflow.solvers.trajectory import Trajectory
from counterflow.writing import save_bytes_atomically

VERSION = 2
SUFFIX = ".safetensors"
DAMAGED = (SafetensorError, KeyError, IndexError, TypeError, ValueError, OSError)
"""What a file that is none of ours may raise."""


@dataclass(frozen=True)
class Stored:
    """What a file holds."""

    model: str
    """`Backbone.identity` of the model that made it."""
    prompt: str
    size: tuple[int, int]
    trajectory: Trajectory
    method: Method
    forwards: int
    seconds: float
    recorded: bool
    picture: Image.Image


def write(path: str | Path, inversion: Inversion, half: bool) -> None:
    """Write an inversion, whole or not at all; InputError where nothing was inverted."""
    if Path(path).suffix.lower() != SUFFIX:
        raise InputError(f"{path} must end in {SUFFIX}")
    if inversion.trajectory is None:
        raise InputError(f"{inversion.method.name} inverts nothing: there is nothing to store")
    kind = torch.float16 if half else torch.float32
    tensors = {
        "latents": inversion.trajectory.latents.detach().cpu().to(kind).contiguous(),
        "picture": torch.from_numpy(np.array(inversion.picture.convert("RGB"))),
    }
    if inversion.trajectory.queries is not None:
        queries = inversion.trajectory.queries
        tensors["queries"] = queries.detach().cpu().to(kind).contiguous()
    record = {
        "version": VERSION,
        "model": inversion.model,
        "prompt": inversion.prompt,
        "size": list(inversion.size),
        "sigmas": list(inversion.trajectory.grid.sigmas),
        "first": inversion.trajectory.first,
        "method": inversion.method.name,
        "settings": inversion.method.to_dict(),
        "forwards": inversion.forwards,
        "seconds": inversion.seconds,
        "recorded": inversion.recorded,
    }
    save_bytes_atomically(path, to_bytes(tensors, {"counterflow": json.dumps(record)}))


def read(path: str | Path) -> Stored:
    """Read an inversion and check it in itself; InputError for what is none or is cut short."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["counterflow"])
            version = record["version"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if version in (1, VERSION):
            return _stored(record, tensors)
    except (*DAMAGED, InputError) as error:
        raise InputError(f"{path} is no inversion, or damaged ({error}): invert again") from None
    which = f"{path} is an inversion of version {version}"
    raise InputError(f"{which}, this reads versions 1 to {VERSION}: invert again")


def _stored(record: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Stored:
    width, height = (int(n) for n in record["size"])
    grid = Grid(tuple(record["sigmas"]))
    queries = tensors["queries"].float() if "queries" in tensors else None
    latents, first = tensors["latents"].float(), int(record.get("first", 0))
    trajectory = Trajectory(latents, grid, first, queries)
    if record["version"] == 1:
        method = from_record("ftedit", ftedit_settings(record["settings"], {}))
    else:
        method = from_record(str(record["method"]), record["settings"])
    if method.steps != grid.steps:
        raise ValueError(f"its settings say {method.steps} steps")
    if not all(torch.isfinite(each).all() for each in (latents, queries) if each is not None):
        raise ValueError("its latents are not finite")
    return Stored(
        str(record["model"]),
        str(record["prompt"]),
        (width, height),
        trajectory,
        method,
        int(record["forwards"]),
        float(record["seconds"]),
        bool(record.get("recorded", not record["forwards"])),  # version 1 tells it by its cost
        Image.fromarray(tensors["picture"].numpy()),
    )


def check_model(stored: Stored, path: str | Path, backbone: Backbone) -> None:
    """ModelError, naming both sides, for another model; the same one may have moved."""
    ours, theirs = (name.rpartition("@")[2] for name in (backbone.identity, stored.model))
    if ours != theirs:
        raise ModelError(f"{path} was made by {stored.model}, this is {backbone.identity}")
    shape = tuple(stored.trajectory.latents.shape[1:])
    if shape != backbone.latent_shape(stored.size):
        raise InputError(f"{path} holds latents {shape}, which are not of a picture {stored.size}")


def restored(stored: Stored, backbone: Backbone, conditioning: Conditioning) -> Inversion:
    """The inversion that a file holds, on its model's device."""
    known = stored.trajectory
    queries = None if known.queries is None else known.queries.to(backbone.device)
    trajectory = replace(known, latents=known.latents.to(backbone.device), queries=queries)
    return Inversion(
        stored.picture,
        stored.size,
        stored.prompt,
        conditioning,
        trajectory[-1],
        trajectory,
        stored.method,
        backbone.identity,
        stored.forwards,
        stored.seconds,
        stored.recorded,
    )
