"""The flow's vocabulary: steps, grids, and the shares of them that are windows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterflow.flow import Grid, Step, within

quick = settings(max_examples=40, deadline=None)


def test_a_step_moves_without_losing_its_place() -> None:
    """`at` changes the noise level and which evaluation it is, `during` the stage alone; the step
    itself stays.
    """
    step = Step(3, 8, 0.5, stage="edit")
    assert step.at(0.25, 1) == Step(3, 8, 0.25, 1, "edit")
    assert step.at(0.25) == Step(3, 8, 0.25, 0, "edit")
    assert step.at(0.25, 1).during("invert") == Step(3, 8, 0.25, 1, "invert")
    assert step == Step(3, 8, 0.5, 0, "edit")
    grid = Grid((1.0, 0.6, 0.0))
    assert grid.step(1, "invert") == Step(1, 2, 0.6, 0, "invert")


@pytest.mark.parametrize(
    "sigmas",
    [
        (),
        (0.0,),
        (1.0, 0.5),
        (0.0, 1.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.2, 0.4, 0.0),
        (1.0, -0.5, 0.0),
        (math.nan, 0.0),
        (1.0, math.nan, 0.0),
        (math.inf, 0.0),
    ],
    ids=str,
)
def test_a_grid_refuses_what_does_not_fall_to_zero(sigmas: tuple[float, ...]) -> None:
    """Fewer than two levels, an end other than 0, a level not below the last, or not finite."""
    with pytest.raises(ValueError):
        Grid(sigmas)


@quick
@given(steps=st.integers(1, 60), data=st.data())
def test_a_grid_is_walked_both_ways(steps: int, data: st.DataObject) -> None:
    """The two directions visit the same intervals, and the widths add up to the way to 0."""
    grid, start = Grid.uniform(steps), data.draw(st.integers(0, steps))
    assert grid.steps == steps and grid[0] == 1 and grid[steps] == 0
    assert list(grid.toward_noise()) == list(range(steps))[::-1]
    assert list(grid.toward_noise(start)) == list(range(start, steps))[::-1]
    assert list(grid.toward_image(start)) == list(range(start, steps))
    assert math.isclose(sum(map(grid.width, range(start, steps))), -grid[start], abs_tol=1e-12)


@quick
@given(steps=st.integers(1, 40), ratio=st.integers(0, 20).map(lambda n: n / 20))
def test_the_first_steps_are_a_share_rounded_down(steps: int, ratio: float) -> None:
    """A window is the longest prefix of at most `ratio * steps` steps; 0.15 of 30 are 4."""
    assert sum(within(0.15, Step(k, 30, 0.5)) for k in range(30)) == 4
    inside = [within(ratio, Step(k, steps, 0.5)) for k in range(steps)]
    assert inside == sorted(inside, reverse=True)
    assert sum(inside) <= ratio * steps + 1e-9 < sum(inside) + 1
