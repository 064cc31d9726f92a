"""The editor's results: edits and reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow.backbones.loading import Loading
from counterflow.carriers import QUALITY
from counterflow.controls.align import changed_words
from counterflow.edit.inversion import Inversion
from counterflow.edit.origin import IN_PYTHON, NO_FILE, digest, near, record
from counterflow.flow import Latent
from counterflow.images import save
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
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All that made it, as its file tells it; other files by their full paths."""

    def save(self, path: str | Path, quality: int = QUALITY) -> None:
        """Write the picture with all that made it inside, which `counterflow replay` reads.

        The suffix of `path` says the form: .png, or with loss .jpg, .jpeg or .webp, of a `quality`
        from 1 to 100. Its settings are those that the command line writes; a picture or mask that
        was given in memory is to be named to `replay` (`--image`, `--mask`). Raises InputError as
        `counterflow.images.save` does.
        """
        files = {name: self.settings[name] for name in ("image", "mask") if self.settings.get(name)}
        told = {name: near(file, Path(path)) for name, file in files.items()}
        save(self.image, path, {**self.settings, **told}, quality)

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
    inversion: Inversion,
    method: Method,
    run: Run,
    latents: Tensor,
    images: Sequence[Image.Image],
    loading: Loading | None = None,
    mask: np.ndarray | None = None,
    exact_background: bool = False,
) -> list[Edit]:
    """The results of a run, from its latents `[n, targets, c, h, w]` and a picture for each target.

    The first target bears the cost of what all share. The last three arguments are for the record.
    """
    own, shared = run.own // len(images), run.forwards - run.own
    source = inversion.trajectory if method.follows else None
    found = torch.stack(run.found).mean(0) if run.found else None
    made = _record(inversion, method, run, loading, mask, exact_background)
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
            made | {"target": prompt.prompt},
        )
        for n, (image, row, prompt) in enumerate(
            zip(images, latents.unbind(1), run.targets, strict=True)
        )
    ]


def _record(
    inversion: Inversion,
    method: Method,
    run: Run,
    loading: Loading | None,
    mask: np.ndarray | None,
    exact_background: bool,
) -> dict[str, Any]:
    """What the command line would record of a run, but for the target; files by full paths.

    The command is `IN_PYTHON` for what it could not make: of a turn, from given noise, with a soft
    mask or by a model in memory.
    """
    origin, model = inversion.origin, {"model": None} if loading is None else loading.record()
    hard = mask is None or mask.dtype == bool
    again = origin is not None and loading is not None and hard and run.begin is None
    return record(
        "edit" if again else IN_PYTHON,
        None,
        origin.image if origin else NO_FILE,
        None if mask is None else NO_FILE,
        {
            "image_sha256": origin.digest if origin else None,
            "mask_sha256": None if mask is None else digest(mask),
        },
        inversion.prompt,
        model | {"identity": inversion.model, "seed": run.seed},
        method,
        exact_background=exact_background,
        inversion_seed=origin.seed if origin else run.seed,
        worked_size=list(inversion.size),
        turns=[],
        noise_seed=None,
    )
