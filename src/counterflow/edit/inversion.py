"""A picture made ready to be edited: a record, which the editor makes and edits start from."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from counterflow.backbones.base import Conditioning
from counterflow.controls.base import Features
from counterflow.flow import Latent
from counterflow.methods.base import Method
from counterflow.solvers.trajectory import Trajectory


@dataclass
class Inversion:
    """A picture with its prompt and latent and, where its method inverts, its trajectory."""

    picture: Image.Image = field(repr=False)
    size: tuple[int, int]
    """Width and height at which the model works."""
    prompt: str
    conditioning: Conditioning = field(repr=False)
    image: Latent = field(repr=False)
    """The picture's latent, `[1, c, h, w]`."""
    trajectory: Trajectory | None = field(repr=False)
    """From noise to the picture; None where the method inverts nothing."""
    method: Method
    model: str
    """`Backbone.identity` of the model that it belongs to."""
    forwards: int = 0
    seconds: float = 0.0
    recorded: bool = False
    """Whether the trajectory is that of a generation or an edit, and not of an inversion."""
    features: Features = field(default_factory=Features, repr=False)
    """Of the source, kept for further edits."""
    residuals: dict[int, float] = field(default_factory=dict, repr=False)
    """By step, the relative fixed-point residual `‖eps‖ / ‖v‖`, where it was measured."""
    latent_error: float | None = None
    """Largest difference of the compensated source from the stored latent, once it is measured."""
    check_forwards: int = 0
    """Forwards that only `Editor.check` made."""
    mask_forwards: int = 0
    """Forwards that `Editor.auto_mask` made."""
    round_trip: Image.Image | None = field(default=None, repr=False)
    """The picture through the autoencoder and back, once it is decoded."""

    @property
    def residual(self) -> float | None:
        """Mean of the residuals that were measured so far."""
        values = self.residuals.values()
        return sum(values) / len(values) if values else None
