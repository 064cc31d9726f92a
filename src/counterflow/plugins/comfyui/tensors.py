"""ComfyUI's pictures and masks, and its progress bar, as the editor takes them.

Pictures are `[batch, height, width, 3]` and masks `[batch, height, width]`, float in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow.errors import InputError
from counterflow.plugins.values import to_array, to_mask, to_picture
from counterflow.progress import Progress

Mask = np.ndarray
"""`[height, width]`: bool, true inside, or soft, float32 from 0 (outside) to 1 (inside)."""


def pictures(image: Tensor) -> list[Image.Image]:
    """A batch's pictures; what a node before left a little outside 0..1 is clipped."""
    return [to_picture(each.float().clamp(0, 1).cpu().numpy()) for each in image]


def masks(mask: Tensor | None, images: Sequence[Image.Image]) -> list[Mask | None]:
    """A mask for each picture; a single one is that of every picture.

    Raises InputError for another number of masks than of pictures, for a mask of another size than
    its picture's, and for one with nothing inside.
    """
    if mask is None:
        return [None for _ in images]
    each = mask[None] if mask.ndim == 2 else mask
    if len(each) not in (1, len(images)):
        raise InputError(
            f"there are {len(each)} masks for {len(images)} pictures; wire one, or one each"
        )
    clipped = each.float().clamp(0, 1).expand(len(images), *each.shape[1:])
    return [to_mask(one, image.size, "mask") for one, image in zip(clipped, images, strict=True)]


def batch(images: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size."""
    return torch.from_numpy(to_array(images))


def progress() -> Progress:
    """ComfyUI's own progress bar, through which it also stops a run that is cancelled."""
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def tell(label: str, made: int, expected: int) -> None:
        bar.update_absolute(made, expected)

    return tell
