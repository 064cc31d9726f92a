"""Pictures, masks and seeds as other programs hold them, in the forms that the editor takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow import images
from counterflow.edit.checks import check_seed
from counterflow.errors import InputError
from counterflow.kinds import Choice

Picture = Image.Image | np.ndarray | Tensor | Sequence[Any]
"""PIL, an array `[height, width, 3]` or a tensor `[3, height, width]`, both in 0..1; the last two
may have a leading dimension of 1, and each may be the only one of a list."""
Generator = torch.Generator | Sequence[torch.Generator] | int
"""A generator, which may be the only one of a list, or a seed."""

OUTPUTS = Choice("pil", "np", "pt", "latent")


def to_picture(image: Any) -> Image.Image:
    """One picture, upright, as PIL of mode RGB; values are rounded to 8 bits.

    Raises InputError for none, for several, and for another form.
    """
    image = _one("image", image)
    if isinstance(image, Image.Image):
        return images.normalise(image)
    values = _numbers("image", image, 3)
    values = np.moveaxis(values, -1, 0) if isinstance(image, np.ndarray) else values
    if len(values) != 3:
        raise InputError(f"image has the shape {values.shape}, not three channels")
    return images.from_array(values * 2 - 1)


def to_mask(mask: Any, size: tuple[int, int], name: str = "mask_image") -> np.ndarray:
    """A mask `[height, width]` for a picture of `size`: bool, or soft, float32, where it has grey.

    PIL, or an array or tensor `[height, width]` in 0..1, with leading dimensions of 1. Raises
    InputError, with the mask's `name`, for another form or size, for several masks, and for one
    with nothing inside.
    """
    mask = _one(name, mask)
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"), np.float32) / 255
    values = _numbers(name, mask, 2)
    if not values.any():
        raise InputError(f"nothing is inside {name}: draw the inside white, or leave it out")
    if values.shape != size[::-1]:
        raise InputError(
            f"{name} is {values.shape[::-1]} pixels, but the picture is {size}; draw it at the "
            "picture's size"
        )
    soft = ((values > 0) & (values < 1)).any()
    return values if soft else values > 0


def seed_of(generator: Generator | None) -> int:
    """The seed of an edit.

    That of a generator that has drawn nothing yet, else a number drawn from it; either way the
    generator moves on, so that the next call differs. Without one a seed is drawn from torch's own.
    Raises InputError for several generators and for what is no seed.
    """
    given: Any = _one("generator", generator)
    if given is None:
        return int(torch.randint(2**63 - 1, ()))
    if not isinstance(given, torch.Generator):
        check_seed(given)
        return int(given)
    seed = given.initial_seed()
    check_seed(seed)
    unused = torch.Generator(given.device).manual_seed(seed).get_state()
    fresh = torch.equal(given.get_state(), unused)
    drawn = int(torch.randint(2**63 - 1, (), generator=given, device=given.device))
    return seed if fresh else drawn


def to_output(pictures: Sequence[Image.Image], latents: Tensor, output_type: str) -> Any:
    """Edited pictures as diffusers returns them.

    `pil`: a list; `np`: `[n, height, width, 3]` and `pt`: `[n, 3, height, width]`, both in 0..1;
    `latent`: `latents`.
    """
    if output_type == "pil":
        return list(pictures)
    if output_type == "latent":
        return latents
    values = to_array(pictures)
    return values if output_type == "np" else torch.from_numpy(values).permute(0, 3, 1, 2)


def to_array(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Pictures of one size as float32 `[n, height, width, 3]` in 0..1."""
    return np.stack([np.asarray(each.convert("RGB"), np.float32) for each in pictures]) / 255


def _one(name: str, value: Any) -> Any:
    """The value, or the only one of a list."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 1:
        raise InputError(f"give one {name}; several pictures take a call each")
    return value[0]


def _numbers(name: str, value: Any, dimensions: int) -> np.ndarray:
    """An array's or tensor's values in 0..1, float32, without leading dimensions of 1."""
    if not isinstance(value, np.ndarray | Tensor):
        raise InputError(f"{name} is a picture, an array or a tensor, not {type(value).__name__}")
    if isinstance(value, Tensor):
        value = value.detach().float().cpu().numpy()
    values: np.ndarray = value.astype(np.float32)
    while values.ndim > dimensions and len(values) == 1:
        values = values[0]
    if values.ndim != dimensions:
        raise InputError(f"{name} has the shape {values.shape}: it needs {dimensions} dimensions")
    if not (values.min() >= 0 and values.max() <= 1):  # not: NaN, which is neither
        raise InputError(f"{name}: an array or a tensor has values from 0 to 1")
    return values
