"""Forms of guidance that families have beside the classifier-free one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from counterflow.backbones.base import ClassifierFree, Conditioning
from counterflow.backbones.mmdit import pack, unpack
from counterflow.flow import Latent


@dataclass(frozen=True)
class Embedded:
    """Guidance that the model was taught to make itself, in one forward."""

    scale: float
    forwards = 1
    linear = False

    def condition(self, conditioning: Conditioning) -> Conditioning:
        """The scale, beside the prompt."""
        told = torch.full_like(conditioning.tensors["guidance"], self.scale)
        return replace(conditioning, tensors=conditioning.tensors | {"guidance": told})

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """As the model gives it."""
        return conditional


@dataclass(frozen=True)
class Rescaled(ClassifierFree):
    """Classifier-free guidance, then as long as the conditional velocity, token by token."""

    linear = False
    longest: float = math.inf
    """Most that a token's velocity is stretched by; 1 only shortens."""

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """The direction of the guided velocity, the length of the conditional one."""
        guided = super().__call__(conditional, unconditional)
        if unconditional is None:
            return guided
        mine, wanted = (pack(each).norm(dim=-1, keepdim=True) for each in (guided, conditional))
        return unpack(pack(guided) * (wanted / mine).clamp(max=self.longest), guided)


@dataclass(frozen=True)
class RescaledRows(ClassifierFree):
    """Classifier-free guidance, then as long as the conditional velocity, row of cells by row and
    channel by channel.
    """

    linear = False

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """The direction of the guided velocity, the length of the conditional one."""
        guided = super().__call__(conditional, unconditional)
        mine, wanted = (each.norm(dim=-1, keepdim=True) for each in (guided, conditional))
        return guided if unconditional is None else guided * (wanted / mine)
