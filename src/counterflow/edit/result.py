"""What the editor makes: edits and reconstructions."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from counterflow.flow import Latent
from counterflow.methods.base import Method
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class Edit:
    """An edited picture and what it cost."""

    image: Image.Image
    """At the source picture's size."""
    latent: Latent = field(repr=False)
    """The edited picture's, `[1, c, h, w]`."""
    trajectory: Trajectory | None = field(repr=False)
    """The latents that the target went through, if a next turn can follow them."""
    target: str
    method: Method
    forwards: int
    """Its own, and with the first of a batch those of the source that all share."""
    seconds: float
    changed: tuple[tuple[int, int], ...]
    """Character spans of the target prompt's words that the source prompt lacks."""
    cut: dict[str, str]
    """By tokenizer, the end of the target prompt that did not fit."""
    unknown: tuple[str, ...] = ()
    """Words of the target prompt that the model never learned, where its folder tells."""


@dataclass(frozen=True)
class Reconstruction:
    """The source, made again from its noise."""

    image: Image.Image
    latent: Latent = field(repr=False)
    latent_error: float
    """Largest absolute difference from the stored image latent."""
    forwards: int
    seconds: float
