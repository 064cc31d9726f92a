"""Structure distance (Tumanyan et al. 2022, arXiv:2201.00424): a DINO ViT's self-similarity.

The cosine similarities between the last layer's keys of all tokens (CLS among them, heads
concatenated) are a matrix for each picture; the distance is the mean squared difference of the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterflow.metrics.pixels import Picture, check
from counterflow.metrics.pretrained import local_folder, local_model

NAME = "facebook/dino-vitb8"
SIDE, LONGEST = 224, 480
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KEYS = (".k_proj", ".attention.key")
"""Names, in versions of transformers, of the module that computes a layer's keys."""


class Structure(nn.Module):
    """Structure distance by a ViT of transformers; 0 for equal pictures, lower is more alike."""

    def __init__(self, vit: Any, layer: int = -1) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(False).eval()
        self.key = [part for name, part in vit.named_modules() if name.endswith(KEYS)][layer]

    def forward(
        self, a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, " n"]:
        """Distances of pictures that `prepared` has resized and normalised."""
        return (self.similarity(a) - self.similarity(b)).square().mean((1, 2))

    @torch.no_grad()
    def distance(self, a: Picture, b: Picture, pie_compat: bool = False) -> float:
        """Distance of two pictures, with the short side resized to 224 pixels.

        `pie_compat` repeats the published evaluator of PIE-Bench: it normalises values in 0…255
        as if they were in 0…1, and does not smooth when it shrinks (as torchvision before 0.17,
        with which it was published). Raises ValueError for arrays that do not fit.
        """
        check(a, b)
        device = next(self.parameters()).device
        one, other = (prepared(picture, pie_compat).to(device) for picture in (a, b))
        return float(self(one, other))

    def similarity(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n t t"]:
        """Cosines between the keys of all `t` tokens, in −1…1."""
        keys: list[Tensor] = []
        handle = self.key.register_forward_hook(lambda _, __, output: keys.append(output))
        try:
            self.vit(pictures, interpolate_pos_encoding=True)
        finally:
            handle.remove()
        unit = nn.functional.normalize(keys[0], dim=-1)
        return unit @ unit.transpose(1, 2)


def prepared(picture: Picture, pie_compat: bool) -> Float[Tensor, "1 3 _ _"]:
    """A picture resized and normalised as the ViT expects it."""
    pixels = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    sized = nn.functional.interpolate(
        pixels if pie_compat else pixels / 255,
        target_size(*picture.shape[:2]),
        mode="bilinear",
        antialias=not pie_compat,
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (sized - mean) / std


def target_size(height: int, width: int) -> tuple[int, int]:
    """Height and width with a short side of 224, or less where the long side would exceed 480."""
    short, long = SIDE, int(SIDE * max(height, width) / min(height, width))
    if long > LONGEST:
        short, long = int(LONGEST * short / long), LONGEST
    return (short, long) if height <= width else (long, short)


def load(folder: str | Path = NAME) -> Structure:
    """Load the published metric, DINO ViT-B/8, from a folder or the hub's local cache.

    Raises ModelError, with the command that downloads it, if a file is absent or incomplete.
    """
    from transformers import ViTModel

    otherwise = (
        f"structure distance needs DINO ViT-B/8, absent or not whole here ({folder}); get it with: "
        f"hf download {NAME} config.json model.safetensors"
    )
    where = local_folder(folder, otherwise)
    return Structure(local_model(ViTModel, where, otherwise, add_pooling_layer=False))
