"""What is said of a picture, its sentence and an edit before anyone looks at the result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from counterflow import images
from counterflow.controls.blend import smoothed
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.pictures import to_picture
from counterflow.metrics import psnr
from counterflow.trust.calibration import Calibration, find
from counterflow.trust.fit import LEVELS, Fit, fit
from counterflow.trust.noise import noise_statistics

UNLIKE = 0.99
"""Share of usual pictures, or sentences, beyond which one is called unlike them."""
LIKELY = 0.5
"""Probability below which an edit is called likely to fail."""
EXACT = 60.0
"""dB of a round trip that is counted as no more: that of a decoded picture is near infinite."""
INVERSION = {"method": "ode", "solver": "euler", "steps": 10}


@dataclass(frozen=True)
class Figures:
    """What is measured of a picture with its sentence, and with each target."""

    shared: dict[str, float]
    targets: list[dict[str, float]]
    """The shared figures and a target's own."""
    forwards: int


@dataclass(frozen=True)
class Expectation:
    """Of one edit; None where the model's calibration does not say."""

    target: str
    success: float | None
    """Probability that all that was to change is as the target says."""
    preserved: float | None
    """Probability that all else is as it was."""


@dataclass(frozen=True)
class Report:
    """What tells how far an edit's result is to be trusted."""

    calibrated: bool
    """Whether there is a calibration for this model; without one there are only figures."""
    picture: float | None
    """Share of the model's own kind of pictures that are less unlike them than this one, 0..1."""
    sentence: float | None
    """Share of right sentences that fit their pictures better than this one does, 0..1."""
    edits: list[Expectation]
    figures: dict[str, float]
    places: dict[str, float]
    """Of each figure, the share of usual pictures whose figure is lower, 0..1."""
    method: str
    """The method whose edits the probabilities are of."""
    size: tuple[int, int]
    """Width and height of the picture."""
    worked: tuple[int, int]
    """Width and height at which the model works on it."""
    forwards: int
    """What the report cost."""
    noise: dict[str, float] = field(default_factory=dict)
    """Statistics of an inverted noise, if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the sentences."""
        return asdict(self) | {"sentences": [sentence(self, n) for n in range(len(self.edits))]}


def assess(
    editor: Editor,
    inversion: Inversion,
    targets: Sequence[str] = (),
    calibration: Calibration | None = None,
) -> Report:
    """Report on an inversion's picture, its prompt and edits to some targets.

    It takes four forwards and two for each target; nothing of the inversion changes. Without a
    `calibration` it is that of the model, if there is one.
    """
    known = calibration or find(editor.backbone.identity)
    measured = figures(editor, inversion, targets)
    noise = {} if inversion.trajectory is None else of_noise(inversion)
    picture = words = None
    edits = [Expectation(target, None, None) for target in targets]
    places = {}
    if known is not None:
        picture = known.picture.place(measured.shared)
        words = known.sentence.place(measured.shared)
        edits = [
            Expectation(target, *known.chances(row))
            for target, row in zip(targets, measured.targets, strict=True)
        ]
        places = known.places(measured.shared)
    return Report(
        known is not None,
        picture,
        words,
        edits,
        measured.shared,
        places,
        known.method if known else "",
        inversion.picture.size,
        inversion.size,
        measured.forwards,
        noise,
    )


def figures(editor: Editor, inversion: Inversion, targets: Sequence[str] = ()) -> Figures:
    """Measure what `assess` reports on."""
    made = fit(editor, inversion, list(targets))
    before = images.resize(inversion.picture, inversion.size)
    after = to_picture(editor.backbone, inversion.image, inversion.size)
    likeness = psnr(np.asarray(before.convert("RGB")), np.asarray(after))
    shared = {"round trip": min(likeness or EXACT, EXACT)} | of_fit(made)
    own = [shared | of_target(made, n) for n in range(len(targets))]
    return Figures(shared, own, made.forwards)


def of_fit(made: Fit) -> dict[str, float]:
    """The figures of picture and sentence, level by level.

    `error`: of the velocity under the empty prompt; `gain`: how much less the sentence's is, both
    as logarithms; `worst`: of the smoothed cells the one where the sentence's is more by most.
    """
    found = {}
    for k, level in enumerate(LEVELS):
        source, empty = made.source[k], made.empty[k]
        found[f"error {level:g}"] = math.log(empty.mean().item() + 1e-12)
        found[f"gain {level:g}"] = math.log((empty.mean() / source.mean().clamp_min(1e-12)).item())
        found[f"worst {level:g}"] = smoothed((source - empty)[None, None]).max().item()
    return found
