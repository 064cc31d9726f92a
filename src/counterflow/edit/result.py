"""The editor's results: edits and reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from counterflow.controls.align import changed_words
from counterflow.edit.inversion import Inversion
from counterflow.flow import Latent
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.solvers.trajectory import Trajectory


@dataclass(frozen=True)
class Edit:
    """An edited picture and what it cost."""

    image: Image.Image
    """At the source picture's size."""
    latent: Latent = field(repr=False)
    """The edited picture's latent, `[1, c, h, w]`."""
    trajectory: Trajectory | None = field(repr=False)
    """The target's latents from noise to picture, if a next turn can follow them; else None."""
    target: str
    method: Method
    forwards: int
    """Its own forwards; the first of a batch also counts those that all share."""
    seconds: float
    changed: tuple[tuple[int, int], ...]
    """Character spans of the target prompt's words that the source prompt lacks."""
    cut: dict[str, str]
    """By tokenizer, the end of the target prompt, where it did not fit."""
    found: Tensor | None = field(default=None, repr=False)
    """The mask that the method found, `[1, 1, h, w]` from 0 to 1, the mean over its steps."""
    unknown: tuple[str, ...] = ()
    """Words of the target prompt that the model never learned, if its folder lists its words."""

    def costing(self, inversion: Inversion) -> Edit:
        """The same, bearing what its inversion cost too."""
        forwards, seconds = self.forwards + inversion.forwards, self.seconds + inversion.seconds
        return replace(self, forwards=forwards, seconds=seconds)


@dataclass(frozen=True)
class Reconstruction:
    """The source picture, made again from its noise."""

    image: Image.Image
    latent: Latent = field(repr=False)
    latent_error: float
    """Largest absolute difference from the stored image latent."""
    forwards: int
    seconds: float


def edits(
    inversion: Inversion, method: Method, run: Run, latents: Tensor, images: Sequence[Image.Image]
) -> list[Edit]:
    """The results of a run, from its latents `[n, targets, c, h, w]` and a picture for each target.

    The first target bears the cost of what all share.
    """
    own, shared = run.own // len(images), run.forwards - run.own
    source = inversion.trajectory if method.follows else None
    found = torch.stack(run.found).mean(0) if run.found else None
    return [
        Edit(
            image,
            row[-1:],
            None if source is None else source.joined(row),
            prompt.prompt,
            method,
            own + shared * (n == 0),
            run.seconds / len(images),
            tuple(changed_words(inversion.prompt, prompt.prompt)),
            prompt.cut,
            None if found is None else found[n : n + 1],
            prompt.unknown,
        )
        for n, (image, row, prompt) in enumerate(
            zip(images, latents.unbind(1), run.targets, strict=True)
        )
    ]
