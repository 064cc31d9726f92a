"""Solvers against flows whose paths are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterflow.flow import Grid, Step, Velocity
from counterflow.solvers.base import SOLVERS as REGISTERED
from counterflow.solvers.base import Solver, solver
from counterflow.solvers.ddim import DDIM
from counterflow.solvers.euler import Euler
from counterflow.solvers.extrapolated import Extrapolated
from counterflow.solvers.fireflow import FireFlow
from counterflow.solvers.fixed_point import FixedPoint
from counterflow.solvers.midpoint import Midpoint
from counterflow.solvers.pmi import PMI
from counterflow.solvers.trajectory import generate, invert
from counterflow.solvers.uniinv import UniInv

quick = settings(max_examples=40, deadline=None)
here = Step(0, 1, 1.0)
SOLVERS: tuple[Solver, ...] = (
    Euler(),
    FixedPoint(),
    FixedPoint(iterations=8, average=False),
    Midpoint(),
    UniInv(),
    UniInv(zero_start=True),
    FireFlow(),
    Extrapolated(),
    Extrapolated(iterations=0),
)
"""One of each; DDIM, whose rule is singular at pure noise, has `test_ddim`, PMI `test_pmi`."""
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)


def travel(solver: Solver, velocity: Velocity, x: Tensor, levels: list[float]) -> Tensor:
    """A solver's steps along noise levels in the order given, in the dtype of `x`."""
    state, last = solver.init(x), len(levels) - 2
    for k, (start, stop) in enumerate(pairwise(levels)):
        index = k if start > stop else last - k
        x, state = solver.step(velocity, x, state, Step(index, last + 1, start), start, stop)
    return x


def latent(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """A latent with one channel of one row."""
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def noise(seed: int, width: int = 6) -> Tensor:
    return torch.randn(1, 2, 3, width, generator=torch.Generator().manual_seed(seed))


def contraction(x: Tensor, step: Step) -> Tensor:
    """A nonlinear velocity that depends on time; its slope in `x` is at most 0.8."""
    return 0.8 * torch.sin(x + step.sigma) + step.sigma


# Order of convergence


@dataclass(frozen=True)
class Flow:
    """A scalar flow `dx / d sigma = v(x, sigma)` and its path from `x` at `a` to level `b`."""

    name: str
    v: Callable[[Tensor, float], Tensor]
    path: Callable[[float, float, float], float]

    def velocity(self, x: Tensor, step: Step) -> Tensor:
        return self.v(x, step.sigma)


FLOWS = (
    Flow("linear", lambda x, s: 1.3 * x, lambda x, a, b: x * math.exp(1.3 * (b - a))),
    Flow("riccati", lambda x, s: x * x, lambda x, a, b: x / (1 - x * (b - a))),
    Flow(
        "driven",
        lambda x, s: math.cos(2 * s) * x,  # at 3 the second order's error cancels on 0…1
        lambda x, a, b: x * math.exp((math.sin(2 * b) - math.sin(2 * a)) / 2),
    ),
)


def measured_order(solver: Solver, flow: Flow, begin: float, end: float) -> float:
    """The slope of log error against log step width."""
    x, counts, errors = 0.4, (32, 64, 128, 256), []
    for steps in counts:
        levels = [begin + (end - begin) * k / steps for k in range(steps + 1)]
        got = travel(solver, flow.velocity, latent(x), levels).item()
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
    speed=st.floats(-3, 3),
)
def test_a_constant_velocity_is_inverted_exactly(steps: int, solver: Solver, speed: float) -> None:
    """On straight parallel paths no solver errs, whatever N and I are; there and back is home."""
    x, grid = latent(-0.7, 0.0, 1.9), Grid.uniform(steps)
    velocity = lambda x, step: torch.full_like(x, speed)
    up, down = list(grid.sigmas[::-1]), list(grid.sigmas)
    there = travel(solver, velocity, x, up)
    assert torch.allclose(there, x + speed, rtol=0, atol=1e-12)
    assert torch.allclose(travel(Euler(), velocity, there, down), x, rtol=0, atol=1e-12)


# The fixed point of stage I


@pytest.mark.parametrize("q", [-0.9, -0.4, 0.15, 0.5, 0.8])
def test_the_last_iterate_converges_at_the_rate_of_the_contraction(
    q: float, record_property: Callable[..., None]
) -> None:
    """On `v = a x` the error to the implicit step `y / (1 - d a)` shrinks by `|d a|` each time."""
    y, d = 1.7, 0.25
    velocity = lambda x, step: q / d * x
    exact = y / (1 - d * (q / d))
    errors = []
    for iterations in range(8):
        solver = FixedPoint(iterations, average=False)
        errors.append(abs(travel(solver, velocity, latent(y), [0.5, 0.5 + d]).item() - exact))
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
    velocity = lambda x, step: q / d * x

    def stepped(average: bool) -> float:
        return travel(FixedPoint(iterations, average), velocity, latent(y), [0.5, 0.5 + d]).item()

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
    assert torch.equal(got[:, 0], torch.cat(expected))


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
    error = (exact.latents - made[:, 0]).abs().max()
    assert error < 1e-5
    assert (euler[0] - made[0]).abs().max() > 1e3 * error


# Windows and cost


@quick
@given(data=st.data(), iterations=st.integers(0, 7))
def test_the_span_chooses_the_evaluations_that_are_averaged(
    data: st.DataObject, iterations: int
) -> None:
    """The step is `y + d * mean(v_a … v_b)`, where evaluation `i` is known to give `2^i`."""
    first = data.draw(st.integers(0, iterations))
    last = data.draw(st.integers(first, iterations))
    values = iter(2.0**i for i in range(iterations + 1))
    velocity = lambda x, step: torch.full_like(x, next(values))
    got = travel(FixedPoint(iterations, span=(first, last)), velocity, latent(1.0), [0.25, 0.75])
    mean = (2 ** (last + 1) - 2**first) / (last - first + 1)
    assert math.isclose(got.item(), 1 + 0.5 * mean, rel_tol=1e-12)


@pytest.mark.parametrize("span", [(-1, 0), (2, 1), (0, 4), (4, 4)])
def test_a_span_outside_the_evaluations_is_refused(span: tuple[int, int]) -> None:
    """Reversed, before the first or beyond the last evaluation."""
    with pytest.raises(ValueError):
        FixedPoint(3, span=span)


def test_negative_iterations_are_refused() -> None:
    """There is no solver of fewer than no iterations."""
    with pytest.raises(ValueError):
        FixedPoint(-1)


@quick
@given(steps=st.integers(1, 12), iterations=st.integers(0, 6), average=st.booleans())
def test_a_step_costs_one_evaluation_more_than_its_iterations(
    steps: int, iterations: int, average: bool
) -> None:
    """I + 1 evaluations in every interval, all at its noisier level and numbered in their order."""
    asked: list[Step] = []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return -x

    grid, solver = Grid.uniform(steps), FixedPoint(iterations, average)
    invert(solver, velocity, noise(3), grid)
    assert asked == [
        Step(k, steps, grid[k], i, "invert")
        for k in reversed(range(steps))
        for i in range(iterations + 1)
    ]
    assert len(asked) == steps * solver.forwards == steps * (iterations + 1)


@pytest.mark.parametrize("steps", [1, 5])
def test_generation_costs_one_evaluation_a_step(steps: int) -> None:
    """Euler asks once for each interval, at its noisier level."""
    asked: list[Step] = []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return -x

    grid = Grid.uniform(steps)
    generate(Euler(), velocity, noise(3), grid)
    assert asked == [Step(k, steps, grid[k], 0, "generate") for k in range(steps)]


@every_solver
def test_a_step_towards_the_noise_costs_what_is_declared(solver: Solver) -> None:
    """`forwards` evaluations, each with a number of its own: features are kept by it. Solvers that
    remember the last one make another in the first step, if any.
    """
    asked: list[Step] = []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return -x

    invert(solver, velocity, noise(3), Grid.uniform(3))
    per_step = [[s.evaluation for s in asked if s.index == k] for k in range(3)]
    if isinstance(solver, UniInv | FireFlow):
        first = [1] if solver == UniInv(zero_start=True) else [0, 1]
        assert per_step == [[1], [1], first] and solver.forwards == 1
    elif isinstance(solver, Extrapolated):
        counts = [max(1, solver.iterations + 1 - n) for n in (2, 1, 0)]
        assert [*map(len, per_step)] == counts and solver.forwards == 1
        assert per_step == [list(range(n)) for n in counts]
    else:
        assert per_step == [list(range(solver.forwards))] * 3
    assert all(step.stage == "invert" for step in asked)


def test_the_midpoint_rule_is_its_formula() -> None:
    """`x + h v(x + h/2 v(x, a), a + h/2)`, either way, and asks there and half way."""
    x, asked = noise(7), []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append((step.sigma, step.evaluation))
        return contraction(x, step)

    for a, b in ((0.8, 0.5), (0.5, 0.8)):
        got, state = Midpoint().step(velocity, x, None, Step(0, 1, 0.8), a, b)
        h = b - a
        middle = x + h / 2 * contraction(x, here.at(a))
        expected = x + h * contraction(middle, here.at(a + h / 2))
        assert state is None and torch.allclose(got, expected, rtol=0, atol=1e-6)
    assert [e for _, e in asked] == [0, 1, 0, 1]
    assert [s for s, _ in asked] == pytest.approx([0.8, 0.65, 0.5, 0.65])


@quick
@given(q=st.floats(-0.9, 0.9), steps=st.integers(1, 12), up=st.booleans(), zero=st.booleans())
def test_solvers_that_remember_are_two_step_rules_on_a_linear_flow(
    q: float, steps: int, up: bool, zero: bool
) -> None:
    """On `v = a x`, with `q = h a`: UniInv is `x'' = (1 + 2 q) x' - q x`, begun by `1 + q + q²` or
    from zero by `1 + q`; FireFlow is Adams and Bashforth's `x'' = (1 + 3 q / 2) x' - q / 2 x`,
    begun by the midpoint rule.
    """
    y = 1.7
    levels = [k / steps for k in range(steps + 1)][:: 1 if up else -1]
    velocity = lambda x, step: q / (levels[1] - levels[0]) * x
    for rule, first, a, b in (
        (UniInv(zero), 1 + q if zero else 1 + q + q * q, 1 + 2 * q, q),
        (FireFlow(), 1 + q + q * q / 2, 1 + 1.5 * q, 0.5 * q),
    ):
        before, expected = y, first * y
        for _ in range(steps - 1):
            before, expected = expected, a * expected - b * before
        got = travel(rule, velocity, latent(y), levels).item()
        assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-9)


def test_solvers_that_remember_tell_where_they_ask() -> None:
    """UniInv at the far end, FireFlow half way, their first step at its start too; either way."""
    asked: list[float] = []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append(step.sigma)
        return -x

    for rule, more in ((UniInv(), [0.4, 1.0]), (FireFlow(), [0.2, 0.7])):
        travel(rule, velocity, noise(1), [0.0, 0.4, 1.0])
        assert asked == pytest.approx([0.0, *more])
        asked.clear()
        travel(rule, velocity, noise(1), [1.0, 0.4, 0.0])
        assert asked[1:] == pytest.approx([0.4, 0.0] if rule == UniInv() else [0.7, 0.2])
        asked.clear()


def test_the_memory_is_the_states_alone() -> None:
    """A solver used again begins anew, and a state that is handed on goes on."""
    for rule in (UniInv(), FireFlow()):
        levels = [0.0, 0.3, 0.5, 1.0]
        whole = travel(rule, contraction, noise(4), levels)
        assert torch.equal(travel(rule, contraction, noise(4), levels), whole)
        x, state = noise(4), rule.init(noise(4))
        for start, stop in pairwise(levels):
            x, state = rule.step(contraction, x, state, here, start, stop)
        assert torch.equal(x, whole) and state is not None
        forgetful = noise(4)
        for start, stop in pairwise(levels):
            forgetful, _ = rule.step(contraction, forgetful, None, here, start, stop)
        assert (forgetful - whole).abs().max() > 1e-3


@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_solver_is_one_that_is_tested(name: str) -> None:
    """By name, with its options; a name that there is not is no solver."""
    made = solver(name)
    assert isinstance(made, Solver) and type(made) in {DDIM, PMI, *map(type, SOLVERS)}
    assert solver("fixed-point", iterations=1, average=False) == FixedPoint(1, False)
    with pytest.raises(KeyError):
        solver("heun")
