"""Paired predictions against a plain loop: queries, the part of the way, what is left as it was."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from counterflow.edit.editor import Editor
from counterflow.flow import Grid
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from oracles import velocity
from tools import SCENE, SOURCE, TARGETS, distance


def by_hand(editor: Editor, x: Tensor, target: str, s: list[float], how: object) -> Tensor:
    """Single rows, no controls."""
    g, rate, least = how.guidance, how.rate, how.least  # type: ignore[attr-defined]
    way, speeds = [x], []
    for b, a in pairwise(s[::-1]):
        speeds.append(velocity(editor, way[-1], a, SOURCE, g))
        way.append(way[-1] + (a - b) * speeds[-1])
    way, speeds = way[::-1], speeds[::-1]
    d = torch.zeros_like(x)
    for k, (a, b) in enumerate(pairwise(s)):
        v = velocity(editor, way[k + 1] + d, a, target, g)
        predicted = d - a * (v - speeds[k])
        d = d + min(1.0, rate * (a - b) / a) * (predicted - d)
    if least:
        length = d.square().sum(1).sqrt()[0]
        rows, columns = length.shape
        for i in range(rows):
            for j in range(columns):
                near = [
                    length[min(max(i + m, 0), rows - 1), min(max(j + n, 0), columns - 1)]
                    for m in (-1, 0, 1)
                    for n in (-1, 0, 1)
                ]
                d[..., i, j] *= min(1.0, max(0.0, float(sum(near)) / 9 / least - 1))
    return x + d


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({"least": 0.0}, (5, 5)),
        ({"least": 0.02, "rate": 1.0}, (5, 5)),
        ({"rate": 9.0, "least": 0.0}, (5, 5)),
        ({"guidance": 2.0, "least": 0.01}, (10, 10)),
    ],
    ids=str,
)
def test_it_is_its_loop(editor: Editor, settings: dict[str, float], cost: tuple[int, int]) -> None:
    """Alone and beside another target, counted."""
    how = method("paired", steps=5, text_ratio=0.0, attention_ratio=0.0, **settings)
    inversion = editor.invert(render(SCENE), SOURCE, how)
    together = editor.edit_batch(inversion, TARGETS)
    assert inversion.forwards == cost[0]
    assert [edit.forwards for edit in together] == [cost[1]] * 2
    levels = list(inversion.trajectory.grid.sigmas)
    for target, edit in zip(TARGETS, together, strict=True):
        expected = by_hand(editor, inversion.image, target, levels, how)
        assert distance(edit.latent, expected) <= 2e-5 * max(1, expected.abs().max().item())
    alone = editor.edit(inversion, TARGETS[0])
    assert distance(alone.latent, together[0].latent) <= 2e-5


def test_controls_cost_nothing_and_leave_no_source_pass(editor: Editor) -> None:
    """The inversion's evaluations give the features; equal prompts still give the source."""
    how = method("paired", steps=5, text_ratio=0.4, attention_ratio=0.4)
    inversion = editor.invert(render(SCENE), SOURCE, how)
    plain = editor.edit(inversion, TARGETS[0], text_ratio=0.0, attention_ratio=0.0, least=0.0)
    held = editor.edit(inversion, TARGETS[0], least=0.0)
    assert inversion.forwards == held.forwards == plain.forwards == 5
    assert distance(held.latent, plain.latent) > 1e-5
    assert distance(editor.edit(inversion, SOURCE).latent, inversion.image) <= 1e-5


def test_even_grids() -> None:
    """Equal parts of a grid; of a uniform one a uniform one."""
    for steps in (1, 3, 7, 100):
        for a, b in zip(
            Grid.uniform(100).even(steps).sigmas, Grid.uniform(steps).sigmas, strict=True
        ):
            assert abs(a - b) < 1e-12
    bent = Grid((1.0, 0.9, 0.5, 0.001, 0.0))
    assert bent.even(4).sigmas == bent.sigmas and bent.even(2).sigmas == (1.0, 0.5, 0.0)
