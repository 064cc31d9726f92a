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
    """`inside` where the mask `[height, width]` is 1 or True, exactly `outside` where it is 0.

    Between, the pixels are mixed: `mask * inside + (1 - mask) * outside`, the mask in 256 levels.
    """
    return Image.composite(inside, outside.convert("RGB"), alpha(mask))


def alpha(mask: np.ndarray) -> Image.Image:
    """A mask as a picture: white inside, black outside, grey where it is soft."""
    soft = mask.dtype != bool
    return Image.fromarray(np.rint(mask * 255).astype(np.uint8) if soft else mask)


def checked(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask of a picture of `size`, (width, height), as bool, or soft: float32 from 0 to 1.

    Whole numbers count as inside unless 0. Raises InputError for another size and other values.
    """
    if mask.shape != size[::-1]:
        raise InputError(
            f"the mask is {mask.shape[::-1]} pixels, but the picture is {size}; "
            "draw the mask at the picture's size"
        )
    if not np.issubdtype(mask.dtype, np.floating):
        return mask.astype(bool)
    if not ((mask >= 0) & (mask <= 1)).all():  # NaN neither
        raise InputError("a soft mask has values from 0 to 1: divide it by its largest")
    return mask.astype(np.float32)


def cells(mask: np.ndarray, latent: Latent) -> Tensor:
    """The mask of the latent's cells, `[1, 1, h, w]`: 1 where the mask is above 0 anywhere.

    Of a soft mask, too: a mixed latent would be mixed again in every step, so that its share would
    depend on their number. The cell changes freely, and the pixels are mixed once.
    """
    rows, columns = latent.shape[-2:]
    return latent_mask(torch.from_numpy(mask > 0), rows, columns).to(latent.device)


def stretched(cells: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Latent cells, bool `[h, w]`, as a mask `[height, width]` of `size`, (width, height)."""
    small = Image.fromarray(cells.cpu().numpy())
    return np.asarray(small.resize(size, Image.Resampling.NEAREST))
