"""Paired against a plain loop: its noise levels, its step, and what is left as it was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from counterflow.backbones.opening import load_adapter
from counterflow.edit.editor import Editor
from counterflow.flow import Grid
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from oracles import velocity
from oracles_more import draws
from tiny import TINY
from tools import SCENE, SOURCE, TARGETS, distance


def by_hand(editor: Editor, x: Tensor, target: str, how: Any, seed: int) -> Tensor:
    """Single rows, and the smoothing cell by cell."""
    draw, z, scale = draws(x, seed), x, 0.0
    sigmas = levels(editor, how)
    for k, (s, following) in enumerate(pairwise(sigmas)):
        q, guided = (1 - s) * x + s * draw(), how.guidance != 1
        if k == 0 and guided:
            apart = velocity(editor, q, s, target, 1) - velocity(editor, q, s, SOURCE, 1)
            scale = how.guidance * min(2, max(1, (how.clear / float(near(apart).max())) ** 0.5))
        g, growth = (scale if guided else 1.0), 1.0
        if guided and k >= how.steps - how.unguided:
            g, growth = 1.0, 1 + (how.share if k else 1.0) * (g - 1)
        v_t = velocity(editor, z + q - x, s, target, g)
        z = z + growth * (following - s) * (v_t - velocity(editor, q, s, SOURCE, g))
    if not how.least:
        return z
    d = z - x
    return x + d * (near(d) / how.least - 1).clamp(0, 1)


def near(d: Tensor) -> Tensor:
    """The lengths of the cells of `[1, c, h, w]`, each a mean of it and its neighbours."""
    length = d.square().sum(1).sqrt()[0]
    rows, columns = length.shape
    found = torch.zeros(rows, columns)
    for i in range(rows):
        for j in range(columns):
            found[i, j] = sum(
                length[min(max(i + m, 0), rows - 1), min(max(j + n, 0), columns - 1)]
                for m in (-1, 0, 1)
                for n in (-1, 0, 1)
            )
    return found / 9


def levels(editor: Editor, how: Any) -> list[float]:
    """Even parts of the schedule from the level where the edit begins, by interpolation."""
    s = torch.tensor(editor.backbone.grid(100, (64, 64)).sigmas, dtype=torch.float64)
    places = torch.arange(len(s), dtype=torch.float64)
    above = int((s >= how.begin).nonzero().max())
    start = float(places[above] + (s[above] - how.begin) / (s[above] - s[above + 1]))
    made = []
    for n in range(how.steps + 1):
        place = start + n * (len(s) - 1 - start) / how.steps
        k = min(int(place), len(s) - 2)
        made.append(float(s[k] + (place - k) * (s[k + 1] - s[k])))
    return [*made[:-1], 0.0]


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({"least": 0.0}, (20, 10)),
        ({"least": 0.02, "steps": 3, "begin": 0.6, "unguided": 1}, (8, 4)),
        ({"guidance": 1.0, "least": 0.01}, (14, 7)),
        ({"guidance": 3.0, "steps": 1, "least": 0.1}, (2, 1)),
        ({"guidance": 1.5, "least": 0.1, "clear": 0.0, "unguided": 0}, (26, 13)),
        ({"steps": 2, "clear": 0.5, "unguided": 0}, (6, 3)),
        ({"steps": 4, "share": 0.7, "unguided": 9}, (8, 4)),
        ({"clear": 100.0, "least": 0.0}, (20, 10)),
    ],
    ids=str,
)
def test_it_is_its_loop(editor: Editor, settings: dict[str, float], cost: tuple[int, int]) -> None:
    """Alone and beside another target, counted."""
    how = method("paired", **settings)
    inversion = editor.invert(render(SCENE), SOURCE, how)
    together = editor.edit_batch(inversion, TARGETS, seed=4)
    assert inversion.forwards == 0
    assert [edit.forwards for edit in together] == list(cost)
    made = how.grid(editor.backbone, (64, 64)).sigmas
    assert all(abs(a - b) < 1e-9 for a, b in zip(made, levels(editor, how), strict=True)) and made[
        0
    ] == pytest.approx(how.begin)
    for target, edit in zip(TARGETS, together, strict=True):
        expected = by_hand(editor, inversion.image, target, how, 4)
        assert distance(edit.latent, expected) <= 2e-5 * max(1, expected.abs().max().item())
    alone = editor.edit(inversion, TARGETS[0], seed=4)
    assert distance(alone.latent, together[0].latent) <= 2e-5


@pytest.mark.parametrize(
    "settings", [{}, {"guidance": 3.0, "steps": 2}, {"guidance": 0.0}], ids=str
)
def test_where_the_model_is_told_its_guidance(settings: dict[str, float]) -> None:
    """It is told in every step, and the change grows in all of them."""
    editor = Editor(load_adapter(TINY["flux-dev"].build(), "flux"))
    editor.backbone.area = 64 * 64
    how = method("paired", least=0.02, clear=30.0, **settings)
    told = editor.backbone.guidance(how.guidance)

    def asked(x: Tensor, s: float, prompt: str) -> Tensor:
        return editor.backbone.velocity(x, s, told.condition(editor.backbone.embed(prompt)))

    inversion = editor.invert(render(SCENE), SOURCE, how)
    x, grown = inversion.image, []
    for target, edit in zip(TARGETS, editor.edit_batch(inversion, TARGETS, seed=4), strict=True):
        draw, z = draws(x, 4), x
        for k, (s, following) in enumerate(pairwise(levels(editor, how))):
            q = (1 - s) * x + s * draw()
            apart = asked(z + q - x, s, target) - asked(q, s, SOURCE)
            if k == 0:
                most = float(near(apart).max()) / (how.guidance or 1)
                grown.append(min(2, max(1, (how.clear / most) ** 0.5)))
            z = z + grown[-1] * (following - s) * apart
        expected = x + (z - x) * (near(z - x) / how.least - 1).clamp(0, 1)
        assert distance(edit.latent, expected) <= 2e-5 * max(1, expected.abs().max().item())
        assert edit.forwards == (2 * how.steps if target == TARGETS[0] else how.steps)
    assert all(growth > 1 for growth in grown)


def test_even_grids() -> None:
    """Equal parts of a grid, from its beginning or from a level; of a uniform one a uniform one."""
    for steps in (1, 3, 7, 100):
        pairs = zip(Grid.uniform(100).even(steps).sigmas, Grid.uniform(steps).sigmas, strict=True)
        assert all(abs(a - b) < 1e-12 for a, b in pairs)
    bent = Grid((1.0, 0.9, 0.5, 0.001, 0.0))
    assert bent.even(4).sigmas == bent.sigmas and bent.even(2).sigmas == (1.0, 0.5, 0.0)
    assert bent.even(2, 0.5).sigmas == (0.5, 0.001, 0.0) and bent.even(1, 5.0).sigmas == (1.0, 0.0)
    assert bent.even(5, 0.7).sigmas[0] == pytest.approx(0.7)
