"""Makes a model's calibration of measured trials, and evaluates it on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from counterflow.bench.trust.measure import METHOD, Row
from counterflow.bench.trust.population import RIGHT, WRONG
from counterflow.bench.trust.scores import auc, calibration_error
from counterflow.trust.calibration import CONTRADICTION, Calibration, Places, Unlike
from counterflow.trust.fit import LEVELS
from counterflow.trust.logistic import Logistic, Scale

PICTURE = ("round trip", *(f"error {level:g}" for level in LEVELS))
"""Figures of a picture, whatever its sentence."""
CHANCES = ("unlike", CONTRADICTION)
"""Figures that the probabilities are of."""


def calibrate(model: str, rows: Sequence[Row], made: str, judged: bool) -> Calibration:
    """A model's calibration; without probabilities unless edits were made and `judged`."""
    right = [row for row in rows if row.kind == RIGHT]
    usual = {name: Places.of([row.figures[name] for row in right]) for name in right[0].figures}
    noises = [row.noise for row in right if row.noise]
    usual |= {name: Places.of([each[name] for each in noises]) for name in noises[0]}
    picture = Unlike.of(PICTURE, [row.figures for row in right])
    plain = Calibration(model, made, usual, picture)
    if not judged:
        return plain
    known = [plain.seen(row.figures) for row in rows]
    scale = Scale.of(CHANCES, [plain.seen(row.figures) for row in right])
    success, preserved = (
        Logistic.fit(scale, known, [getattr(row, name) for row in rows])
        for name in ("success", "preserved")
    )
    return Calibration(model, made, usual, picture, success, preserved, METHOD)


def evaluate(calibration: Calibration, rows: Sequence[Row]) -> dict[str, Any]:
    """How well it tells each kind from what is right, and how true its probabilities are."""
    kinds = {kind: [row for row in rows if row.kind == kind] for kind in _kinds(rows)}
    scores = {
        kind: [_score(calibration, row, kind) for row in each] for kind, each in kinds.items()
    }
    right = kinds[RIGHT]
    usual = {
        words: [_score(calibration, row, words) for row in right] for words in (RIGHT, WRONG[0])
    }
    found: dict[str, Any] = {"kinds": {}, "probabilities": {}}
    for kind, each in kinds.items():
        same = usual[WRONG[0] if kind in WRONG else RIGHT]
        unlike = [calibration.doubts(row.figures) for row in each]
        found["kinds"][kind] = {
            "count": len(each),
            "AUC": None if kind == RIGHT else auc(same, scores[kind]),
            "doubted": float(np.mean(unlike)),
            "success": float(np.mean([row.success for row in each])),
            "preserved": float(np.mean([row.preserved for row in each])),
        }
    if calibration.success is None:
        return found
    for n, name in enumerate(("success", "preserved")):
        for label, some in (("all", list(rows)), (RIGHT, right)):
            chances = [calibration.chances(row.figures)[n] or 0.0 for row in some]
            outcomes = [bool(getattr(row, name)) for row in some]
            parts = list(zip(chances, outcomes, strict=True))
            pairs = [[p for p, y in parts if y is wanted] for wanted in (False, True)]
            found["probabilities"][f"{name}, {label}"] = {
                "count": len(some),
                "mean probability": float(np.mean(chances)),
                "share": float(np.mean(outcomes)),
                "calibration error": calibration_error(chances, outcomes),
                "AUC": auc(*pairs),
            }
    return found


def _kinds(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.kind for row in rows))


def _score(calibration: Calibration, row: Row, kind: str) -> float:
    """What tells a kind from what is right: of a sentence, or of a picture."""
    return calibration.seen(row.figures)[CONTRADICTION if kind in WRONG else "unlike"]
