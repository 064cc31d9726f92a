"""What inversions and edits cost in forwards, and that the progress says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterflow.edit.editor import Editor
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from tools import (
    SCENE,
    SOURCE,
    TARGETS,
    Meter,
    distance,
    inverted,
)


@pytest.mark.parametrize(("guidance", "cost"), [(1, 18), (2, 36)])
def test_an_inversion_costs(editor: Editor, guidance: float, cost: int) -> None:
    """N (I + 1) forwards, twice that with guidance; a reconstruction a third (I + 1) of it. The
    progress is told of every step.
    """
    meter = Meter()
    inversion = inverted(editor, iterations=2, invert_guidance=guidance, progress=meter)
    assert inversion.forwards == cost and meter.agrees(6) and meter.labels == {"inverting"}
    meter = Meter()
    made = editor.reconstruct(inversion, progress=meter)
    assert made.forwards == cost // 3 and meter.agrees(6) and meter.labels == {"reconstructing"}
    assert made.latent_error <= 1e-5


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"guidance": 2}, 18, 12),
        ({"guidance": 1}, 12, 6),
        ({"guidance": 2, "attention_ratio": 0.5}, 18, 12),
        ({"guidance": 2, "text_ratio": 0.5}, 15, 12),
        ({"guidance": 2, "text_ratio": 0, "attention_ratio": 0.34}, 14, 12),
        ({"guidance": 2, "text_ratio": 0}, 12, 12),
        ({"guidance": 2, "compensate": "both"}, 24, 12),
        ({"guidance": 1, "compensate": "both"}, 12, 6),
        ({"guidance": 2, "compensate": "none"}, 24, 24),
        ({"guidance": 2, "compensate": "none", "text_ratio": 0.5}, 18, 18),
        ({"guidance": 2, "compensate": "none", "text_ratio": 0}, 12, 12),
        ({"guidance": 2, "skip_steps": 2}, 12, 8),
        ({"guidance": 2, "skip_steps": 2, "text_ratio": 0.5}, 9, 8),
        ({"guidance": 2, "skip_steps": 2, "compensate": "both"}, 16, 8),
    ],
    ids=str,
)
def test_an_edit_costs(editor: Editor, options: dict[str, Any], first: int, second: int) -> None:
    """The target's passes, and the source's where its features (or compensation) are not known."""
    inversion = inverted(editor)
    for target, cost in zip(TARGETS, (first, second), strict=True):
        meter = Meter()
        assert editor.edit(inversion, target, progress=meter, **options).forwards == cost
        assert meter.agrees(6 - options.get("skip_steps", 0)) and meter.labels == {"editing"}


def test_the_papers_settings_cost_what_the_mathematics_needs(editor: Editor) -> None:
    """N = 30, I = 3: 120 to invert, 90 for the first target, 60 for each further one."""
    inversion = editor.invert(render(SCENE), SOURCE)
    assert inversion.method == method(
        "ftedit", steps=30, iterations=3, average=True, invert_guidance=1, guidance=2
    )
    costs = [inversion.forwards, *(editor.edit(inversion, target).forwards for target in TARGETS)]
    assert costs == [120, 90, 60]


def test_features_that_are_kept_change_no_result(editor: Editor) -> None:
    """A second target is what it would have been as the first, to the rounding of a batch without
    the source's row, and features beyond the budget are computed again.
    """
    options = {"attention_ratio": 0.4, "attention_tokens": "both"}
    alone = editor.edit(inverted(editor), TARGETS[1], **options)
    inversion = inverted(editor)
    editor.edit(inversion, TARGETS[0])
    kept = editor.edit(inversion, TARGETS[1], **options)
    assert kept.forwards < alone.forwards and distance(kept.latent, alone.latent) <= 1e-5
    small = Editor(editor.backbone, keep=0)
    poor = inverted(small)
    for _ in range(2):
        again = small.edit(poor, TARGETS[1], **options)
        assert again.forwards == alone.forwards == 18 and torch.equal(again.latent, alone.latent)
