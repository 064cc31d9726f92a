"""The preview of a running edit: where its last step leads, at the cost of no forward."""

from __future__ import annotations

import pytest
from torch import Tensor

from counterflow.edit.editor import Editor
from counterflow.flow import Step
from tools import MOVING, SOURCE, TARGETS, distance, inverted, running


@pytest.mark.parametrize("name", ["euler", "paired", "flowedit", "ftedit", "decflowedit"])
def test_the_last_preview_is_the_result_and_none_costs_a_forward(one: Editor, name: str) -> None:
    settings = {"steps": 4} | MOVING.get(name, {})
    seen: list[tuple[int, Tensor]] = []
    edits = []
    for preview in (None, lambda x, step: seen.append((step.index, x))):
        one.preview = preview
        inversion = one.invert(inverted(one, 2).picture, SOURCE, name, **settings)
        edits.append(one.edit_batch(inversion, TARGETS))
    one.preview = None
    plain, watched = edits
    last = seen[-1]
    for n, (a, b) in enumerate(zip(plain, watched, strict=True)):
        assert a.forwards == b.forwards and distance(a.latent, b.latent) == 0
        assert distance(last[1][n : n + 1], b.latent) == 0
    assert last[0] == 3 and len(last[1]) == len(TARGETS)


def test_a_preview_is_the_clean_picture_of_the_velocity(one: Editor) -> None:
    """For a method that follows a velocity: `x - sigma * v` at the latents that a step left."""
    inversion = one.invert(inverted(one, 2).picture, SOURCE, "euler", steps=4, guidance=1.0)
    seen: dict[int, Tensor] = {}

    def keep(x: Tensor, step: Step) -> None:
        seen[step.index] = x

    one.preview = keep
    one.edit(inversion, TARGETS[0])
    one.preview = None
    known = inversion.trajectory
    assert known is not None
    run = running(one, inversion, inversion.method, TARGETS[:1])
    x, velocity = known[0], run.velocity("target", 1.0)
    for k in run.grid.toward_image():
        v = velocity(x, run.grid.step(k))
        assert distance(seen[k], x - run.grid[k] * v) <= 1e-4
        x = x + run.grid.width(k) * v
