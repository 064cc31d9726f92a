"""Turns latents into pictures, and applies masks to both."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow import images
from counterflow.backbones.base import Backbone
from counterflow.controls.blend import latent_mask
from counterflow.errors import InputError
from counterflow.flow import Latent


def to_picture(backbone: Backbone, latent: Latent, size: tuple[int, int]) -> Image.Image:
    """Decode a latent `[1, c, h, w]` to a picture of `size`, (width, height)."""
    pixels = backbone.decode(latent)[0].cpu().numpy()
    return images.resize(images.from_array(pixels), size)


def composite(inside: Image.Image, outside: Image.Image, mask: np.ndarray) -> Image.Image:
    """`inside` where the bool mask `[height, width]` is True, exactly `outside` elsewhere."""
    return Image.composite(inside, outside.convert("RGB"), Image.fromarray(mask))


def cells(mask: np.ndarray, size: tuple[int, int], latent: Latent) -> Tensor:
    """The mask of the latent's cells, 0 or 1, `[1, 1, h, w]`.

    Raises InputError if `mask` does not have the picture's `size`, (width, height).
    """
    if mask.shape != size[::-1]:
        raise InputError(
            f"the mask is {mask.shape[::-1]} pixels, but the picture is {size}; "
            "draw the mask at the picture's size"
        )
    rows, columns = latent.shape[-2:]
    return latent_mask(torch.from_numpy(mask.astype(bool)), rows, columns).to(latent.device)


def stretched(cells: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Latent cells, bool `[h, w]`, as a mask `[height, width]` of `size`, (width, height)."""
    small = Image.fromarray(cells.cpu().numpy())
    return np.asarray(small.resize(size, Image.Resampling.NEAREST))
