"""What an inversion makes: edits and reconstructions."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from counterflow.edit.settings import EditSettings
from counterflow.inversion.trajectory import Trajectory


@dataclass(frozen=True)
class Edit:
    """An edited picture and what it cost."""

    image: Image.Image
    """At the source picture's size."""
    trajectory: Trajectory = field(repr=False)
    """The latents that the target branch went through; the next turn's source."""
    target: str
    settings: EditSettings
    forwards: int
    """Its own, and with the first of a batch those of the source branch that all share."""
    seconds: float
    changed: tuple[tuple[int, int], ...]
    """Character spans of the target prompt's words that the source prompt lacks."""
    cut: dict[str, str]
    """By tokenizer, the end of the target prompt that did not fit."""
    unknown: tuple[str, ...] = ()
    """Words of the target prompt that the model never learned, where its folder tells."""

    @property
    def latent(self) -> Tensor:
        """The edited picture's latent, `[1, c, h, w]`."""
        return self.trajectory[-1]


@dataclass(frozen=True)
class Reconstruction:
    """The source, made again from its noise."""

    image: Image.Image
    latent: Tensor = field(repr=False)
    latent_error: float
    """Largest absolute difference from the stored image latent."""
    forwards: int
    seconds: float
