"""Trajectories: what is stored, and what the velocity at it lacks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterflow.errors import NumericsError
from counterflow.flow import Grid, Step
from counterflow.solvers.base import Solver
from counterflow.solvers.euler import Euler
from counterflow.solvers.fixed_point import FixedPoint
from counterflow.solvers.midpoint import Midpoint
from counterflow.solvers.trajectory import Trajectory, generate, invert, reconstruct

quick = settings(max_examples=40, deadline=None)
here = Step(0, 1, 1.0)


def noise(seed: int, width: int = 6) -> Tensor:
    return torch.randn(1, 2, 3, width, generator=torch.Generator().manual_seed(seed))


def contraction(x: Tensor, step: Step) -> Tensor:
    """A nonlinear velocity that depends on time; its slope in `x` is at most 0.8."""
    return 0.8 * torch.sin(x + step.sigma) + step.sigma


def test_compensation_is_what_the_velocity_lacks() -> None:
    """`v + eps` leads from any latent to the next stored one; the residual is `‖eps‖ / ‖v‖`."""
    grid = Grid.uniform(4)
    stored = invert(FixedPoint(1), contraction, noise(4), grid)
    for k in grid.toward_image():
        for x in (stored[k], stored[k] + noise(5)):
            v = contraction(x, here.at(grid[k]))
            eps = stored.compensation(k, x, v)
            landed = x + (grid[k + 1] - grid[k]) * (v + eps)
            assert torch.allclose(landed, stored[k + 1], rtol=0, atol=1e-5)
        v = contraction(stored[k], here.at(grid[k]))
        eps = (stored[k + 1] - stored[k]) / (grid[k + 1] - grid[k]) - v
        assert math.isclose(stored.residual(k, v), float(eps.norm() / v.norm()), rel_tol=1e-6)


def test_the_residual_vanishes_at_the_fixed_point() -> None:
    """Converged iterations need no compensation, the averaged and Euler's do."""
    grid = Grid.uniform(4)

    def worst(solver: Solver) -> float:
        stored = invert(solver, contraction, noise(4), grid)
        return max(
            stored.residual(k, contraction(stored[k], here.at(grid[k])))
            for k in grid.toward_image()
        )

    assert worst(FixedPoint(40, average=False)) < 1e-5
    assert worst(FixedPoint(3)) > 1e-3
    assert worst(FixedPoint(0)) > worst(FixedPoint(3))


def test_a_trajectory_has_one_latent_more_than_steps() -> None:
    """Anything else is refused."""
    for count in (4, 6):
        with pytest.raises(ValueError):
            Trajectory(torch.zeros(count, 1, 2, 2), Grid.uniform(4))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_velocity_that_is_not_finite_is_named_with_its_step(bad: float) -> None:
    """The loops stop at the first latent that is no number and say where they were."""

    def velocity(x: Tensor, step: Step) -> Tensor:
        return torch.full_like(x, bad) if step.index == 2 else torch.zeros_like(x)

    with pytest.raises(NumericsError, match=r"step 2 of 5 \(invert\)"):
        invert(FixedPoint(2), velocity, noise(6), Grid.uniform(5))
    with pytest.raises(NumericsError, match=r"step 2 of 5 \(generate\)"):
        generate(Euler(), velocity, noise(6), Grid.uniform(5))
    stored = invert(Euler(), lambda x, step: torch.zeros_like(x), noise(6), Grid.uniform(5))
    for compensate in (False, True):
        with pytest.raises(NumericsError, match=r"step 2 of 5 \(edit\)"):
            reconstruct(velocity, stored, compensate, Euler())


@quick
@given(steps=st.integers(1, 9), data=st.data())
def test_a_partial_trajectory_is_the_end_of_the_whole(steps: int, data: st.DataObject) -> None:
    """Inverted down to interval `stop`: the same latents, at the same numbers, and no others."""
    stop, grid = data.draw(st.integers(0, steps)), Grid.uniform(steps)
    whole = invert(FixedPoint(1), contraction, noise(4), grid)
    part = invert(FixedPoint(1), contraction, noise(4), grid, stop)
    assert part.first == stop and part.grid == grid
    assert len(part.latents) == steps + 1 - stop
    for k in range(stop, steps + 1):
        assert torch.equal(part[k], whole[k]) and part[k].shape == (1, 2, 3, 6)
    for k in range(stop, steps):
        assert torch.equal(part.change(k), whole.change(k))
        assert torch.equal(part.velocity(k), whole.velocity(k))
    assert torch.equal(part[-1], whole[-1])
    for k in (*range(stop), steps + 1, -(steps + 2 - stop)):
        with pytest.raises(IndexError, match=f"{stop} to {steps}"):
            part[k]


@pytest.mark.parametrize(("count", "first"), [(5, 1), (3, 1), (1, 5), (5, -1), (6, -1)])
def test_a_partial_trajectory_fills_the_grid_from_its_first(count: int, first: int) -> None:
    """Anything else is refused; of four steps from the second on there are four latents."""
    Trajectory(torch.zeros(4, 1, 2, 2), Grid.uniform(4), 1)
    with pytest.raises(ValueError):
        Trajectory(torch.zeros(count, 1, 2, 2), Grid.uniform(4), first)


@pytest.mark.parametrize("first", [0, 2, 4])
def test_a_reconstruction_begins_where_its_trajectory_does(first: int) -> None:
    """Compensated it lands on the image and measures every step; else it is Euler's own way."""
    grid, told = Grid.uniform(4), []
    stored = invert(FixedPoint(1), contraction, noise(4), grid, first)
    landed, residuals = reconstruct(contraction, stored, True, Euler(), told.append)
    assert torch.allclose(landed, stored[4], rtol=0, atol=1e-5)
    assert [step.index for step in told] == list(residuals) == list(range(first, 4))
    x = stored[first]
    for k in range(first, 4):
        x = x + grid.width(k) * contraction(x, here.at(grid[k]))
    drifted, none = reconstruct(contraction, stored, False, Euler())
    assert torch.equal(drifted, x) and none == {}


def test_the_loops_tell_of_every_step() -> None:
    """Once each, in the order of travel, with the stage."""
    told: list[Step] = []
    grid = Grid.uniform(3)
    invert(FixedPoint(2), contraction, noise(4), grid, 1, told.append)
    generate(Midpoint(), contraction, noise(4), grid, told.append)
    assert [(step.stage, step.index) for step in told] == [
        *(("invert", k) for k in (2, 1)),
        *(("generate", k) for k in (0, 1, 2)),
    ]
