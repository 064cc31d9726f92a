"""A picture prepared for edits: the record that `Editor.invert` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from counterflow.backbones.base import Conditioning
from counterflow.controls.features import Features
from counterflow.edit.origin import Origin
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
    """True if the trajectory comes from a generation or an edit instead of an inversion."""
    features: Features = field(default_factory=Features, repr=False)
    """The source's features, kept for further edits."""
    residuals: dict[int, float] = field(default_factory=dict, repr=False)
    """By step, the relative fixed-point residual `‖eps‖ / ‖v‖`, where it was measured."""
    latent_error: float | None = None
    """Largest difference of the compensated source from the latent; None until measured."""
    check_forwards: int = 0
    """Number of forwards that `Editor.check` needed."""
    mask_forwards: int = 0
    """Number of forwards that `Editor.auto_mask` needed."""
    origin: Origin | None = None
    """Where it comes from; None for a generated picture, and for a turn."""
    round_trip: Image.Image | None = field(default=None, repr=False)
    """The picture after encoding and decoding; None until `Editor.round_trip` computes it."""

    def forget(self) -> None:
        """Let go of what edits left, so that the next one's costs are those of its method alone.

        What the inversion recorded stays.
        """
        self.features.forget()
        self.residuals.clear()

    @property
    def residual(self) -> float | None:
        """Mean of the residuals measured so far; None if there are none."""
        values = self.residuals.values()
        return sum(values) / len(values) if values else None
