"""Makes a model's calibration of measured trials, and evaluates it on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from counterflow.bench.stats import bounds
from counterflow.bench.trust.measure import METHOD, Row
from counterflow.bench.trust.population import RIGHT, WRONG
from counterflow.trust.calibration import CONTRADICTION, JUDGE, Calibration, Places, Unlike
from counterflow.trust.fit import LEVELS
from counterflow.trust.logistic import Logistic, Scale
from counterflow.trust.scores import auc, calibration_error

PICTURE = ("round trip", *(f"error {level:g}" for level in LEVELS))
"""Figures of a picture, whatever its sentence."""
UNLIKE = "unlike"
CHANCES = (
    UNLIKE,
    *PICTURE,
    *(f"gain {level:g}" for level in LEVELS),
    CONTRADICTION,
    JUDGE,
    "target gain",
    "change",
)
"""Figures that the probabilities are of."""


def calibrate(model: str, rows: Sequence[Row], made: str, judged: bool) -> Calibration:
    """A model's calibration; without probabilities unless edits were made and `judged`."""
    right = [row for row in rows if row.kind == RIGHT]
    usual = {name: Places.of([row.figures[name] for row in right]) for name in right[0].figures}
    noises = [row.noise for row in right if row.noise]
    usual |= {name: Places.of([each[name] for each in noises]) for name in noises[0]}
    picture = Unlike.of(PICTURE, [row.figures for row in right])
    size = right[0].size
    plain = Calibration(model, made, usual, picture, size=size)
    if not judged:
        return plain
    known = [plain.seen(row.figures) for row in rows]
    scale = Scale.of(CHANCES, known)
    success, preserved = (
        Logistic.fit(scale, known, [getattr(row, name) for row in rows])
        for name in ("success", "preserved")
    )
    return Calibration(model, made, usual, picture, success, preserved, METHOD, size)


def evaluate(calibration: Calibration, rows: Sequence[Row]) -> dict[str, Any]:
    """How well it tells each kind from what is right, and how true its probabilities are."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    right = kinds[RIGHT]
    found: dict[str, Any] = {
        "kinds": {kind: _told(calibration, kind, each, right) for kind, each in kinds.items()},
        "probabilities": {},
    }
    if calibration.success is not None:
        for n, name in enumerate(("success", "preserved")):
            for label, some in (("all", rows), (RIGHT, right)):
                chances = [calibration.chances(row.figures)[n] or 0.0 for row in some]
                outcomes = [bool(getattr(row, name)) for row in some]
                found["probabilities"][f"{name}, {label}"] = truth(chances, outcomes)
    return found


def _told(
    calibration: Calibration, kind: str, some: Sequence[Row], right: Sequence[Row]
) -> dict[str, Any]:
    """How well one kind is told from what is right, and what came of its edits."""
    score = CONTRADICTION if kind in WRONG else UNLIKE
    here, there = ([calibration.seen(row.figures)[score] for row in each] for each in (right, some))
    energies = [[-row.figures[JUDGE] for row in each] for each in (right, some)]
    same_picture = kind == RIGHT or kind in WRONG
    return {
        "count": len(some),
        "AUC": None if kind == RIGHT else auc(here, there),
        "AUC, 95 %": None if kind == RIGHT else bounds(auc, here, there),
        "the judge's AUC": None if same_picture else auc(*energies),
        "doubted": float(np.mean([calibration.doubts(row.figures) for row in some])),
        "success": float(np.mean([row.success for row in some])),
        "preserved": float(np.mean([row.preserved for row in some])),
    }


def truth(chances: Sequence[float], outcomes: Sequence[bool]) -> dict[str, Any]:
    """How true probabilities are: their mean beside the share of outcomes, the error, the AUC.

    With 95 % intervals, by bootstrap over trials.
    """
    pairs = list(zip(chances, outcomes, strict=True))
    without, with_it = ([p for p, y in pairs if y is wanted] for wanted in (False, True))
    return {
        "count": len(pairs),
        "mean probability": float(np.mean(chances)),
        "share": float(np.mean(outcomes)),
        "calibration error": calibration_error(chances, outcomes),
        "error, 95 %": bounds(_error, pairs),
        "AUC": auc(without, with_it),
        "AUC, 95 %": bounds(auc, without, with_it),
    }


def _error(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """The calibration error of probabilities and outcomes."""
    return calibration_error([p for p, _ in pairs], [y for _, y in pairs])
