"""Forms of guidance that families have beside the classifier-free one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from counterflow.backbones.base import Conditioning
from counterflow.flow import Latent


@dataclass(frozen=True)
class Embedded:
    """Guidance that the model was taught to make itself, in one forward."""

    scale: float
    forwards = 1

    def condition(self, conditioning: Conditioning) -> Conditioning:
        """The scale, beside the prompt."""
        told = torch.full_like(conditioning.tensors["guidance"], self.scale)
        return replace(conditioning, tensors=conditioning.tensors | {"guidance": told})

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """As the model gives it."""
        return conditional
