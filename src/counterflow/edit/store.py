"""Inversions as files: safetensors with the trajectory, the picture and what made them.

Version 2 names its method; version 1, of before there were methods, is read as FTEdit's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from counterflow import images
from counterflow.backbones.base import Backbone, Conditioning
from counterflow.edit.inversion import Inversion
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError, ModelError
from counterflow.flow import Grid
from counterflow.methods.base import Method
from counterflow.methods.registry import from_record
from counterflow.outside import Count, Prompt, Record, Seconds, Size, check_file, parse_json
from counterflow.prompts import check_prompt
from counterflow.solvers.trajectory import Trajectory
from counterflow.writing import save_bytes_atomically

VERSION = 2
SUFFIX = ".safetensors"


class _Header(Record):
    """What a file says beside its tensors."""

    version: Literal[1, 2]
    model: str
    prompt: Prompt
    size: Size
    sigmas: Annotated[list[float], Field(min_length=2, max_length=1001)]
    first: Count = 0
    method: str = "ftedit"
    settings: dict[str, Any]
    forwards: Count
    seconds: Seconds
    recorded: bool | None = None


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
    check_prompt("the prompt of an inversion that is stored", inversion.prompt)
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
    check_file(path)
    try:
        with safe_open(path, "pt") as file:
            data = parse_json((file.metadata() or {}).get("counterflow", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = data.get("version") if isinstance(data, dict) else None
        if isinstance(version, int) and not 1 <= version <= VERSION:
            raise ValueError(f"it is of version {version!r:.9}; this reads 1 to {VERSION}")
        return _stored(_Header.of(data), tensors)
    except (SafetensorError, OSError, ValueError, InputError) as error:
        raise InputError(f"{path} is no inversion, or damaged ({error}): invert again") from None


def _stored(header: _Header, tensors: dict[str, torch.Tensor]) -> Stored:
    settings = header.settings
    if header.version == 1:
        settings = ftedit_settings(settings, {})
    method, grid = from_record(header.method, settings), Grid(tuple(header.sigmas))
    if method.steps != grid.steps:
        raise ValueError(f"its settings say {method.steps} steps")
    latents, queries = _latents(tensors, "latents"), _latents(tensors, "queries")
    if latents is None:
        raise ValueError("it lacks latents")
    if queries is not None and queries.shape[1:] != latents.shape[1:]:
        raise ValueError("its queries are of another size than its latents")
    recorded = header.recorded
    return Stored(
        header.model,
        header.prompt,
        (header.size[0], header.size[1]),
        Trajectory(latents, grid, header.first, queries),
        method,
        header.forwards,
        header.seconds,
        not header.forwards if recorded is None else recorded,  # version 1 tells it by its cost
        _picture(tensors),
    )


def _latents(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor | None:
    """Latents `[n, c, h, w]` in single precision; None where there are none."""
    if name not in tensors:
        return None
    latents = tensors[name]
    if latents.ndim != 4 or not latents.is_floating_point():
        raise ValueError(f"its {name} are no latents, but {latents.dtype} {list(latents.shape)}")
    latents = latents.float()
    if not torch.isfinite(latents).all():
        raise ValueError(f"its {name} are not finite")
    return latents


def _picture(tensors: dict[str, torch.Tensor]) -> Image.Image:
    pixels = tensors.get("picture", torch.empty(0))
    if (
        pixels.dtype != torch.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or not pixels.numel()
    ):
        raise ValueError("it holds no RGB picture")
    return Image.fromarray(pixels.numpy())


def check_model(stored: Stored, path: str | Path, backbone: Backbone) -> None:
    """ModelError, naming both sides, for another model; the same one may have moved."""
    ours, theirs = (name.rpartition("@")[2] for name in (backbone.identity, stored.model))
    if ours != theirs:
        raise ModelError(f"{path} was made by {stored.model}, this is {backbone.identity}")
    shape, size = tuple(stored.trajectory.latents.shape[1:]), stored.size
    if shape != backbone.latent_shape(size):
        raise InputError(f"{path} holds latents {shape}, which are not of a picture {size}")
    if not images.fits(stored.picture.size, size, backbone.multiple):
        raise InputError(f"{path} holds a picture {stored.picture.size}, and latents of {size}")


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
