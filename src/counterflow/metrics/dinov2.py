"""Likeness of two pictures to DINOv2 (Oquab et al. 2023, arXiv 2304.07193): what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterflow.metrics.pixels import Picture, check
from counterflow.metrics.pretrained import local_folder, local_model
from counterflow.metrics.structure import prepared

NAME = "facebook/dinov2-base"


class DinoV2(nn.Module):
    """Cosine between the class tokens of a Dinov2Model of transformers."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(False).eval()

    @torch.no_grad()
    def similarity(self, a: Picture, b: Picture) -> float:
        """In −1…1, 1 for equal pictures, with the short side resized to 224 pixels.

        Raises ValueError for arrays that do not fit.
        """
        check(a, b)
        device = next(self.parameters()).device
        one, other = (
            self.vit(prepared(picture, False).to(device)).pooler_output for picture in (a, b)
        )
        return float(torch.cosine_similarity(one, other))


def load(folder: str | Path = NAME) -> DinoV2:
    """Load DINOv2 ViT-B/14 from a folder or the hub's local cache.

    Raises ModelError, with the command that downloads it, if a file is absent or incomplete.
    """
    from transformers import Dinov2Model

    otherwise = (
        f"this likeness needs DINOv2 ViT-B/14, absent or not whole here ({folder}); get it with: "
        f"hf download {NAME} config.json model.safetensors"
    )
    return DinoV2(local_model(Dinov2Model, local_folder(folder, otherwise), otherwise))
