"""The velocity field's vocabulary, and the solvers against flows whose paths are known."""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterflow.errors import NumericsError
from counterflow.flow import Branch, Counter, Field, Grid, Step, guided, within
from counterflow.inversion.solvers import SOLVERS, Euler, FixedPoint, Solver
from counterflow.inversion.trajectory import (
    Trajectory,
    compensation,
    generate,
    invert,
    residual,
)

quick = settings(max_examples=40, deadline=None)
here = Step(0, 1, 1.0)
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)


def travel(solver: Solver, field: Field, x: Tensor, levels: list[float]) -> Tensor:
    """A solver's steps along noise levels in the order given, in the dtype of `x`."""
    state, last = solver.init(x), len(levels) - 2
    for k, (start, stop) in enumerate(pairwise(levels)):
        index = k if start > stop else last - k
        x, state = solver.step(field, x, state, Step(index, last + 1, start), start, stop)
    return x


def latent(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """A latent with one channel of one row."""
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def noise(seed: int, width: int = 6) -> Tensor:
    return torch.randn(1, 2, 3, width, generator=torch.Generator().manual_seed(seed))


def contraction(x: Tensor, step: Step) -> Tensor:
    """A nonlinear field that depends on time; its slope in `x` is at most 0.8."""
    return 0.8 * torch.sin(x + step.sigma) + step.sigma


# Steps and grids


def test_a_step_moves_without_losing_its_place() -> None:
    """`at` changes the noise level alone, `on` the branch alone; the step itself stays."""
    step = Step(3, 8, 0.5, "target", "edit")
    assert step.at(0.25) == Step(3, 8, 0.25, "target", "edit")
    assert step.on("negative") == Step(3, 8, 0.5, "negative", "edit")
    assert step == Step(3, 8, 0.5, "target", "edit")


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


# Fields around fields


def test_guidance_of_one_never_evaluates_the_unconditional_field() -> None:
    """At scale 1 the conditional field alone is asked."""

    def forbidden(x: Tensor, step: Step) -> Tensor:
        raise AssertionError("the unconditional field was evaluated")

    x = noise(0)
    assert torch.equal(guided(contraction, forbidden, 1)(x, here), contraction(x, here))


@quick
@given(scale=st.floats(0, 20).filter(lambda scale: scale != 1))
def test_guidance_is_the_formula(scale: float) -> None:
    """`u + scale * (c - u)`, with the step's own branch for `c` and "negative" for `u`."""
    asked: list[tuple[str, Branch]] = []

    def named(name: str, value: float) -> Field:
        def field(x: Tensor, step: Step) -> Tensor:
            asked.append((name, step.branch))
            return torch.full_like(x, value)

        return field

    out = guided(named("c", 3.0), named("u", -2.0), scale)(latent(0.0, 1.0), here.on("source"))
    assert torch.allclose(out, latent(*[-2 + scale * 5] * 2), rtol=1e-12)
    assert sorted(asked) == [("c", "source"), ("u", "negative")]


@quick
@given(batches=st.lists(st.integers(1, 5), max_size=6))
def test_the_counter_counts_samples(batches: list[int]) -> None:
    """Each call adds its batch rows, over all fields of one counter, and changes no value."""
    counter = Counter()
    fields = counter(contraction), counter(lambda x, step: -x)
    for i, rows in enumerate(batches):
        x = noise(i).expand(rows, -1, -1, -1)
        assert torch.equal(fields[i % 2](x, here), contraction(x, here) if i % 2 == 0 else -x)
    assert counter.forwards == sum(batches)


# Order of convergence


@dataclass(frozen=True)
class Flow:
    """A scalar flow `dx / d sigma = v(x, sigma)` and its path from `x` at `a` to level `b`."""

    name: str
    v: Callable[[Tensor, float], Tensor]
    path: Callable[[float, float, float], float]

    def field(self, x: Tensor, step: Step) -> Tensor:
        return self.v(x, step.sigma)


FLOWS = (
    Flow("linear", lambda x, s: 1.3 * x, lambda x, a, b: x * math.exp(1.3 * (b - a))),
    Flow("riccati", lambda x, s: x * x, lambda x, a, b: x / (1 - x * (b - a))),
    Flow(
        "driven",
        lambda x, s: math.cos(3 * s) * x,
        lambda x, a, b: x * math.exp((math.sin(3 * b) - math.sin(3 * a)) / 3),
    ),
)


def measured_order(solver: Solver, flow: Flow, begin: float, end: float) -> float:
    """The slope of log error against log step width."""
    x, counts, errors = 0.4, (32, 64, 128, 256), []
    for steps in counts:
        levels = [begin + (end - begin) * k / steps for k in range(steps + 1)]
        got = travel(solver, flow.field, latent(x), levels).item()
        errors.append(abs(got - flow.path(x, begin, end)))
    return float(np.polyfit(-np.log(counts), np.log(errors), 1)[0])


@every_solver
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
@pytest.mark.parametrize("way", [(1.0, 0.0), (0.0, 1.0)], ids=["sampling", "inversion"])
def test_the_order_is_the_declared_one(
    solver: Solver, flow: Flow, way: tuple[float, float], record_property: Callable[..., None]
) -> None:
    """In float64, either way along a flow with a closed form, to within 0.15."""
    order = measured_order(solver, flow, *way)
    record_property("order", order)
    assert abs(order - solver.order) <= 0.15


@quick
@given(
    steps=st.integers(1, 40),
    solver=st.sampled_from(
        [*SOLVERS, *(FixedPoint(i, a) for i, a in product(range(6), (False, True)))]
    ),
    velocity=st.floats(-3, 3),
)
def test_a_constant_velocity_is_inverted_exactly(
    steps: int, solver: Solver, velocity: float
) -> None:
    """On straight parallel paths no solver errs, whatever N and I are; there and back is home."""
    x, grid = latent(-0.7, 0.0, 1.9), Grid.uniform(steps)
    field = lambda x, step: torch.full_like(x, velocity)
    up, down = list(grid.sigmas[::-1]), list(grid.sigmas)
    there = travel(solver, field, x, up)
    assert torch.allclose(there, x + velocity, rtol=0, atol=1e-12)
    assert torch.allclose(travel(Euler(), field, there, down), x, rtol=0, atol=1e-12)


# The fixed point of stage I


@pytest.mark.parametrize("q", [-0.9, -0.4, 0.15, 0.5, 0.8])
def test_the_last_iterate_converges_at_the_rate_of_the_contraction(
    q: float, record_property: Callable[..., None]
) -> None:
    """On `v = a x` the error to the implicit step `y / (1 - d a)` shrinks by `|d a|` each time."""
    y, d = 1.7, 0.25
    field = lambda x, step: q / d * x
    exact = y / (1 - d * (q / d))
    errors = []
    for iterations in range(8):
        solver = FixedPoint(iterations, average=False)
        errors.append(abs(travel(solver, field, latent(y), [0.5, 0.5 + d]).item() - exact))
    rates = [after / before for before, after in pairwise(errors)]
    record_property("rates", rates)
    assert np.allclose(rates, abs(q), rtol=1e-6)


@quick
@given(q=st.floats(-0.95, 0.95), iterations=st.integers(0, 12))
def test_the_averaged_iterate_is_a_partial_geometric_sum(q: float, iterations: int) -> None:
    """On `v = a x`, with `q = d a`: the last iterate is `y (1 + q + … + q^(I+1))`, and the mean of
    evaluations 0…I, whose arguments are such sums, weights `q^j` by `(I + 2 - j) / (I + 1)`.
    """
    y, d, count = 1.7, 0.25, iterations + 1
    field = lambda x, step: q / d * x

    def stepped(average: bool) -> float:
        return travel(FixedPoint(iterations, average), field, latent(y), [0.5, 0.5 + d]).item()

    last = y * sum(q**j for j in range(count + 1))
    mean = y + y * sum((count + 1 - j) / count * q**j for j in range(1, count + 1))
    assert math.isclose(stepped(average=False), last, rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(stepped(average=True), mean, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("average", [False, True])
def test_no_iterations_are_euler_inversion_bit_for_bit(average: bool) -> None:
    """I = 0 is eq. 8, `x[k] = x[k+1] + (s[k] - s[k+1]) v(x[k+1], s[k])`, on an uneven grid."""
    s = (1.0, 0.93, 0.8, 0.44, 0.1, 0.0)
    x = noise(1)
    expected = [x]
    for k in reversed(range(len(s) - 1)):
        x = x + (s[k] - s[k + 1]) * contraction(x, here.at(s[k]))
        expected.insert(0, x)
    got = invert(FixedPoint(0, average), contraction, noise(1), Grid(s))
    assert torch.equal(got.latents, torch.cat(expected))


def test_generation_is_eulers_rule_bit_for_bit() -> None:
    """Eq. 7, `x[k+1] = x[k] + (s[k+1] - s[k]) v(x[k], s[k])`, every latent recorded."""
    s = (1.0, 0.93, 0.8, 0.44, 0.1, 0.0)
    x = noise(2)
    expected = [x]
    for k in range(len(s) - 1):
        x = x + (s[k + 1] - s[k]) * contraction(x, here.at(s[k]))
        expected.append(x)
    got = generate(Euler(), contraction, noise(2), Grid(s))
    assert torch.equal(got.latents, torch.cat(expected))


@quick
@given(seed=st.integers(0, 99), steps=st.integers(2, 25))
def test_many_iterations_undo_generation(seed: int, steps: int) -> None:
    """Generate by Euler, then invert: every latent comes back to float32's precision, while
    Euler inversion, from the same image, misses the noise by far more.
    """
    grid = Grid.uniform(steps)
    made = generate(Euler(), contraction, noise(seed), grid)
    exact = invert(FixedPoint(40, average=False), contraction, made[-1], grid)
    euler = invert(FixedPoint(0), contraction, made[-1], grid)
    error = (exact.latents - made.latents).abs().max()
    assert error < 1e-5
    assert (euler[0] - made[0]).abs().max() > 1e3 * error


# Windows and cost


@quick
@given(data=st.data(), iterations=st.integers(0, 7))
def test_the_window_chooses_the_evaluations_that_are_averaged(
    data: st.DataObject, iterations: int
) -> None:
    """The step is `y + d * mean(v_a … v_b)`, where evaluation `i` is known to give `2^i`."""
    first = data.draw(st.integers(0, iterations))
    last = data.draw(st.integers(first, iterations))
    values = iter(2.0**i for i in range(iterations + 1))
    field = lambda x, step: torch.full_like(x, next(values))
    got = travel(FixedPoint(iterations, window=(first, last)), field, latent(1.0), [0.25, 0.75])
    mean = (2 ** (last + 1) - 2**first) / (last - first + 1)
    assert math.isclose(got.item(), 1 + 0.5 * mean, rel_tol=1e-12)


@pytest.mark.parametrize("window", [(-1, 0), (2, 1), (0, 4), (4, 4)])
def test_a_window_outside_the_evaluations_is_refused(window: tuple[int, int]) -> None:
    """Reversed, before the first or beyond the last evaluation."""
    with pytest.raises(ValueError):
        FixedPoint(3, window=window)


def test_negative_iterations_are_refused() -> None:
    """There is no solver of fewer than no iterations."""
    with pytest.raises(ValueError):
        FixedPoint(-1)


@quick
@given(steps=st.integers(1, 12), iterations=st.integers(0, 6), average=st.booleans())
def test_a_step_costs_one_evaluation_more_than_its_iterations(
    steps: int, iterations: int, average: bool
) -> None:
    """I + 1 evaluations in every interval, all at its noisier level and on the source branch."""
    asked: list[Step] = []

    def field(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return -x

    grid, counter = Grid.uniform(steps), Counter()
    invert(FixedPoint(iterations, average), counter(field), noise(3), grid)
    assert Tally(asked) == {
        Step(k, steps, grid[k], "source", "invert"): iterations + 1 for k in range(steps)
    }
    assert counter.forwards == steps * (iterations + 1)


@pytest.mark.parametrize("steps", [1, 5])
def test_generation_costs_one_evaluation_a_step(steps: int) -> None:
    """Euler asks once for each interval, at its noisier level."""
    asked: list[Step] = []

    def field(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return -x

    grid = Grid.uniform(steps)
    generate(Euler(), field, noise(3), grid)
    assert asked == [Step(k, steps, grid[k], "target", "generate") for k in range(steps)]


# Trajectories


def test_compensation_is_what_the_velocity_lacks() -> None:
    """`v + eps` leads from any latent to the next stored one; the residual is `‖eps‖ / ‖v‖`."""
    grid = Grid.uniform(4)
    stored = invert(FixedPoint(1), contraction, noise(4), grid)
    for k in grid.toward_image():
        for x in (stored[k], stored[k] + noise(5)):
            v = contraction(x, here.at(grid[k]))
            eps = compensation(stored, k, x, v)
            landed = x + (grid[k + 1] - grid[k]) * (v + eps)
            assert torch.allclose(landed, stored[k + 1], rtol=0, atol=1e-5)
        v = contraction(stored[k], here.at(grid[k]))
        eps = (stored[k + 1] - stored[k]) / (grid[k + 1] - grid[k]) - v
        assert math.isclose(residual(stored, k, v), float(eps.norm() / v.norm()), rel_tol=1e-6)


def test_the_residual_vanishes_at_the_fixed_point() -> None:
    """Converged iterations need no compensation, the averaged and Euler's do."""
    grid = Grid.uniform(4)

    def worst(solver: Solver) -> float:
        stored = invert(solver, contraction, noise(4), grid)
        return max(
            residual(stored, k, contraction(stored[k], here.at(grid[k])))
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
    """Both loops stop at the first latent that is no number and say where they were."""

    def field(x: Tensor, step: Step) -> Tensor:
        return torch.full_like(x, bad) if step.index == 2 else torch.zeros_like(x)

    with pytest.raises(NumericsError, match=r"step 2 of 5 \(invert\)"):
        invert(FixedPoint(2), field, noise(6), Grid.uniform(5))
    with pytest.raises(NumericsError, match=r"step 2 of 5 \(generate\)"):
        generate(Euler(), field, noise(6), Grid.uniform(5))
