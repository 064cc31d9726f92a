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

from counterflow.controls.features import Features
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
    targets: Float[Tensor, "targets h w"]
    """Under each target prompt, at the first level."""
    change: Float[Tensor, "targets h w"]
    """Squared difference of the velocities under target and source, at the first level."""
    forwards: int


def fit(editor: Editor, inversion: Inversion, targets: list[str]) -> Fit:
    """Measure an inversion's picture under its prompt, the empty one and targets.

    It takes two forwards at each level and one for each target, the rows of a level in one batch;
    nothing of the inversion changes.
    """
    backbone, image = editor.backbone, inversion.image
    prompts = [editor.embedded(target) for target in targets]
    run = Run(
        backbone,
        image,
        Grid((*LEVELS, 0.0)),
        inversion.conditioning,
        editor.embedded(""),
        prompts,
        [RowMap(())] * len(targets),
        Features(budget=0),
        seed=SEED,
        rows=editor.rows,
    )
    noise, rows = run.noise(), []
    for k in range(len(LEVELS)):
        step = run.grid.step(k)
        x = run.noised(noise, step.sigma)
        asked = [run.of_source(x), run.of_negative(x)]
        if k == 0 and targets:
            asked.append(run.of_target(x.expand(len(targets), *x.shape[1:])))
        rows.append(torch.cat(run.velocities(step, *asked)))
    first = rows[0]
    errors = [(v - (noise - image)).square().mean(1).cpu() for v in rows]
    pairs = torch.stack([each[:2] for each in errors])
    change = (first[2:] - first[:1]).square().mean(1).cpu()
    return Fit(pairs[:, 0], pairs[:, 1], errors[0][2:], change, run.forwards)
