"""How well the model explains a picture under a sentence, by its flow-matching error.

A flow transformer is trained to predict `v = noise - image` at `x = (1 - s) * image + s * noise`
(flow matching, arXiv 2210.02747; likewise the denoising error of diffusion classifiers, Li et al.,
ICCV 2023, arXiv 2303.16203). The level of its error tells a picture that the model does not know;
the error under a sentence less that under the empty one tells a sentence that does not fit. Both
are of the same noise, so that what the noise does to either cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.controls.base import Features
from counterflow.controls.rows import RowMap
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.flow import Grid
from counterflow.methods.run import Run

LEVELS = (0.5, 0.2)
"""Noise levels that are asked at, from high to low."""
SEED = 0
"""Of the noise, the same for every picture."""


@dataclass(frozen=True)
class Fit:
    """Squared errors of the predicted velocity at each level, the mean over channels, by cell."""

    source: Float[Tensor, "levels h w"]
    empty: Float[Tensor, "levels h w"]
    """Under the empty prompt."""
    targets: Float[Tensor, "levels targets h w"]
    change: Float[Tensor, "levels targets h w"]
    """Squared difference of the velocities under target and source."""
    forwards: int


def fit(editor: Editor, inversion: Inversion, targets: list[str]) -> Fit:
    """Measure an inversion's picture under its prompt, the empty one and targets.

    It takes `len(LEVELS) * (2 + len(targets))` forwards, the rows of a level in one batch; nothing
    of the inversion changes.
    """
    backbone, image = editor.backbone, inversion.image
    prompts = [backbone.embed(target) for target in targets]
    run = Run(
        backbone,
        image,
        Grid((*LEVELS, 0.0)),
        inversion.conditioning,
        editor.negative,
        prompts,
        [RowMap(())] * len(targets),
        Features(budget=0),
        seed=SEED,
        rows=editor.rows,
    )
    noise, levels = run.noise(), []
    for k in range(len(LEVELS)):
        step = run.grid.step(k)
        x = run.noised(noise, step.sigma)
        rows = x.expand(len(targets), *x.shape[1:])
        source, empty, target = run.velocities(
            step, run.of_source(x), run.of_negative(x), run.of_target(rows)
        )
        v = torch.cat([source, empty, target])
        errors = (v - (noise - image)).square().mean(1)
        levels.append((errors, (target - source).square().mean(1)))
    errors = torch.stack([each for each, _ in levels]).cpu()
    change = torch.stack([each for _, each in levels]).cpu()
    return Fit(errors[:, 0], errors[:, 1], errors[:, 2:], change, run.forwards)
