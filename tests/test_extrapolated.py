"""The extrapolated implicit step against closed forms, and what it costs and leaves in a method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.flow import Grid, Step
from counterflow.methods import registry
from counterflow.methods.price import price
from counterflow.solvers.base import Solver
from counterflow.solvers.extrapolated import Extrapolated
from counterflow.solvers.fixed_point import FixedPoint
from counterflow.solvers.trajectory import Trajectory, invert
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGET


def driven(x: torch.Tensor, step: Step) -> torch.Tensor:
    """A smooth flow whose velocity changes with level and place."""
    return math.cos(3 * step.sigma) * x


def residual(solver: Solver, steps: int) -> float:
    """The relative fixed-point residual, in float64, of an inversion's last interval."""
    grid = Grid.uniform(steps)
    x = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)
    latents, state = [x], solver.init(x)
    for k in grid.toward_noise():
        x, state = solver.step(
            driven, latents[-1], state, grid.step(k, "invert"), grid[k + 1], grid[k]
        )
        latents.append(x)
    known = Trajectory(torch.cat(latents[::-1]), grid)
    return known.residual(0, driven(known[0], grid.step(0)))


@pytest.mark.parametrize(
    ("solver", "order"),
    [(Extrapolated(), 3), (Extrapolated(0), 3), (FixedPoint(3), 1), (FixedPoint(1, False), 2)],
    ids=repr,
)
def test_the_residual_is_of_third_order(solver: Solver, order: int) -> None:
    """One evaluation at an extrapolated place leaves less than a mean of four, and sooner."""
    counts = (32, 64, 128, 256)
    residuals = [residual(solver, n) for n in counts]
    slope = float(np.polyfit(-np.log(counts), np.log(residuals), 1)[0])
    assert abs(slope - order) <= 0.15


def test_a_velocity_that_is_a_line_in_the_level_is_met_exactly() -> None:
    """On any grid: the guess is exact, and so is the step."""
    grid = Grid((1.0, 0.85, 0.4, 0.3, 0.1, 0.0))
    asked: list[torch.Tensor] = []

    def line(x: torch.Tensor, step: Step) -> torch.Tensor:
        asked.append(x)
        return torch.full_like(x, 2 + 3 * step.sigma)

    known = invert(Extrapolated(0), line, torch.zeros(1, 1, 1, 1), grid)
    for n, k in enumerate(grid.toward_noise()):
        if n >= 2:  # with two velocities it asks where the step ends
            assert torch.allclose(asked[n], known[k], atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "iterations", "evaluations"), [(30, 3, 36), (30, 0, 30), (10, 4, 20), (2, 3, 7)]
)
def test_the_evaluations_are_those_that_are_told(
    one: Editor, steps: int, iterations: int, evaluations: int
) -> None:
    how = registry.method("ftedit", solver="extrapolated", steps=steps, iterations=iterations)
    inversion = one.invert(render(SCENE), SOURCE, how)
    assert inversion.forwards == evaluations
    assert price(how).first == evaluations + 3 * steps


def test_compensation_stays_exact_and_edits_are_made(one: Editor) -> None:
    """And the residual is measured by the way, as for any inversion."""
    how = registry.method("ftedit", solver="extrapolated", steps=8)
    inversion = one.invert(render(SCENE), SOURCE, how)
    edit = one.edit(inversion, TARGET)
    assert one.reconstruct(inversion).latent_error < 1e-5
    assert len(inversion.residuals) == 8 and torch.isfinite(edit.latent).all()


def test_settings_without_use_are_refused() -> None:
    with pytest.raises(InputError, match="average_span"):
        registry.method("ftedit", solver="extrapolated", average_span=(0, 1))
    with pytest.raises(ValueError, match="0 or more"):
        Extrapolated(-1)
