"""What is said of a picture, its sentence and an edit before anyone looks at the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from counterflow import images
from counterflow.controls.blend import smoothed
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.memory import frugal
from counterflow.edit.pictures import to_picture
from counterflow.methods import registry
from counterflow.metrics import psnr
from counterflow.toybox.judge import Judge
from counterflow.toybox.judge import load as load_judge
from counterflow.trust.calibration import (
    CONTRADICTION,
    JUDGE,
    ROUND_TRIP,
    UNLIKE,
    Calibration,
    find,
)
from counterflow.trust.fit import LEVELS, Fit, fit
from counterflow.trust.noise import noise_statistics

LIKELY = 0.5
"""Probability below which an edit is called likely to fail."""
UNKNOWN = (
    "Not calibrated for this model: run counterflow calibrate, with --prompts for a model of "
    "another world than the bundled one."
)
EXACT = 60.0
"""dB of a round trip that is counted as no more: that of a decoded picture is near infinite."""
METHOD, STEPS = "euler", 10
"""How the noise is found whose statistics are compared with usual ones."""


MEANINGS = {
    "round trip": "dB: the picture through the autoencoder and back",
    "error": "log squared error of the velocity under the empty prompt, at this noise level",
    "gain": "how much smaller that log is under the source sentence",
    CONTRADICTION: "log of how much larger the sentence makes it, where it does",
    JUDGE: "how surely the judge of the bundled world reads the picture: its energy",
    "noise mean": "of the inverted noise; 0 of the model's own",
    "noise variance": "1 of the model's own",
    "noise kurtosis": "excess kurtosis; 0 of the model's own",
    "noise autocorrelation": "of neighbouring cells; 0 of the model's own",
    "residual": "mean relative fixed-point residual of the inversion",
}
"""Of figures by name, without a noise level."""


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
    unknown: tuple[str, ...] = ()
    """Words of the target alone that the model never learned: nothing is known of such edits."""


@dataclass(frozen=True)
class Report:
    """What tells how far an edit's result is to be trusted."""

    calibrated: bool
    """Whether there is a calibration for this model; without one there are only figures."""
    picture: float | None
    """How unlike the model's own kind of pictures it is: 0 for the median of these, 1 as one in
    fifty; from `UNLIKE` on it is called unlike them."""
    sentence: float | None
    """The same for its sentence among sentences that are right."""
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
    measured: tuple[int, int]
    """Width and height at which the edits were made that the probabilities are of."""
    forwards: int
    """What the report cost."""
    noise: dict[str, float] = field(default_factory=dict)
    """Statistics of an inverted noise, if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the sentences."""
        return asdict(self) | {"sentences": [sentence(self, n) for n in range(len(self.edits))]}


@frugal
def assess(
    editor: Editor,
    inversion: Inversion,
    targets: Sequence[str] = (),
    calibration: Calibration | None = None,
) -> Report:
    """Report on an inversion's picture, its prompt and edits to some targets.

    It takes four forwards and one for each target; nothing of the inversion changes. Without a
    `calibration` it is that of the model, if there is one.
    """
    known = calibration or find(editor.backbone.identity)
    judged = known is not None and known.success is not None
    measured = figures(editor, inversion, targets, load_judge() if judged else None)
    noise = of_noise(inversion)
    picture = fitting = None
    edits = [Expectation(target, None, None) for target in targets]
    places = {}
    if known is not None:
        picture, fitting = known.beyond(measured.shared)
        edits = [
            Expectation(target, *(known.chances(row) if not new else (None, None)), new)
            for target, row in zip(targets, measured.targets, strict=True)
            for new in [_never_learned(editor, inversion, target)]
        ]
        places = known.places(measured.shared | (noise if _usual(inversion) else {}))
    return Report(
        known is not None,
        picture,
        fitting,
        edits,
        measured.shared,
        places,
        known.method if known else "",
        inversion.picture.size,
        inversion.size,
        known.size if known else inversion.size,
        measured.forwards,
        noise,
    )


def figures(
    editor: Editor, inversion: Inversion, targets: Sequence[str] = (), judge: Judge | None = None
) -> Figures:
    """Measure what `assess` reports on; with a judge of the bundled world also how it reads."""
    made = fit(editor, inversion, list(targets))
    before = images.resize(inversion.picture, inversion.size)
    after = to_picture(editor.backbone, inversion.image, inversion.size)
    likeness = psnr(np.asarray(before.convert("RGB")), np.asarray(after))
    shared = {ROUND_TRIP: min(likeness or EXACT, EXACT)} | of_fit(made)
    if judge is not None:
        shared[JUDGE] = judge.energy(inversion.picture)
    own = [shared | of_target(made, n) for n in range(len(targets))]
    return Figures(shared, own, made.forwards)


def of_fit(made: Fit) -> dict[str, float]:
    """The figures of picture and sentence, level by level.

    `error`: of the velocity under the empty prompt; `gain`: how much less the sentence's is, both
    as logarithms; `contradiction`: the mean over smoothed cells of how much more the sentence's is,
    where it is more, for a wrong word is wrong in one place.
    """
    found = {}
    for k, level in enumerate(LEVELS):
        source, empty = made.source[k], made.empty[k]
        found[f"error {level:g}"] = math.log(empty.mean().item() + 1e-12)
        found[f"gain {level:g}"] = math.log((empty.mean() / source.mean().clamp_min(1e-12)).item())
    more = smoothed((made.source - made.empty).sum(0)[None, None]).clamp_min(0).mean()
    return found | {CONTRADICTION: math.log(more.item() + 1e-6)}


def of_target(made: Fit, n: int) -> dict[str, float]:
    """The figures of a target: its gain over the source, and how much it changes the velocity."""
    ratio = made.source[0].mean() / made.targets[n].mean().clamp_min(1e-12)
    change = made.change[n].mean().item()
    return {"target gain": math.log(ratio.item()), "change": math.log(change + 1e-12)}


def of_noise(inversion: Inversion) -> dict[str, float]:
    """The statistics of an inversion's noise; none if it stops before pure noise."""
    known = inversion.trajectory
    if known is None or known.first or inversion.recorded:
        return {}
    return {f"noise {name}": value for name, value in asdict(noise_statistics(known[0])).items()}


def _usual(inversion: Inversion) -> bool:
    """Whether its noise was found as that of the usual ones was."""
    return inversion.method.sharing_key == registry.method(METHOD, steps=STEPS).sharing_key


def inverted_noise(editor: Editor, picture: Image.Image, prompt: str) -> dict[str, float]:
    """The statistics of a picture's noise by the inversion that calibrations are made with."""
    return of_noise(editor.invert(picture, prompt, METHOD, steps=STEPS))


def sentence(report: Report, n: int = 0, method: str = "") -> str:
    """What edit `n` can be expected to be, in one plain sentence.

    It names the method that the probabilities are of where the edit's `method` is another, or has
    other settings, of which it then says more than the name; and their size, where it is another.
    """
    if not report.calibrated:
        return UNKNOWN
    subject, edit = doubt(report), report.edits[n]
    if edit.unknown:
        words = " and ".join(map(repr, edit.unknown))
        begins = f"{subject}, and this" if subject else "This"
        return f"{begins} model never learned {words}: what comes of the edit is not known."
    if edit.success is None or edit.preserved is None:
        return overall(report)
    chances = f"success {edit.success:.0%}, preservation {edit.preserved:.0%}".replace("%", " %")
    if method not in ("", report.method):
        chances += f" by {report.method} as it comes"
    if report.worked != report.measured:
        chances += " at {}x{}".format(*report.measured)
    if edit.success >= LIKELY and edit.preserved >= LIKELY:
        return f"{subject}; expect {chances}." if subject else f"Expect {chances}."
    what = "change more than it should" if edit.success >= LIKELY else "fail"
    return f"{subject + ', and the' if subject else 'The'} edit is likely to {what} ({chances})."


def _never_learned(editor: Editor, inversion: Inversion, target: str) -> tuple[str, ...]:
    """The unknown words of a target that its source does not have."""
    before = set(inversion.conditioning.unknown)
    return tuple(word for word in editor.embedded(target).unknown if word not in before)


def overall(report: Report) -> str:
    """What is said of picture and source sentence alone."""
    if not report.calibrated:
        return UNKNOWN
    return f"{doubt(report) or 'Picture and sentence are of the kind that this model knows'}."


def doubt(report: Report) -> str:
    """What is wrong with picture or sentence, as the beginning of a sentence; empty if nothing."""
    if report.picture is not None and report.picture >= UNLIKE:
        return "The picture is unlike what this model draws"
    if report.sentence is not None and report.sentence >= UNLIKE:
        return "Picture and source sentence do not fit each other"
    return ""


def enlarged(size: tuple[int, int], worked: tuple[int, int]) -> str:
    """A sentence for a picture that is larger than what the model works at; else empty."""
    if size[0] * size[1] <= 1.2 * worked[0] * worked[1]:
        return ""
    small, large = ("x".join(map(str, each)) for each in (worked, size))
    return f"Edited at {small} and enlarged to {large}: expect blur."
