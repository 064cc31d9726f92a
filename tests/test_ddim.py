"""DDIM through the change of variables: Euler when sampling, its own when inverting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterflow.flow import Grid, Step
from counterflow.solvers.base import Solver
from counterflow.solvers.ddim import DDIM, scale
from counterflow.solvers.euler import Euler
from counterflow.solvers.trajectory import generate, invert


def curved(x: Tensor, step: Step) -> Tensor:
    return torch.tanh(x) + step.sigma * x.cos()


@given(st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_sampling_is_eulers(steps: int, seed: int) -> None:
    noise = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    grid = Grid.uniform(steps)
    ours, eulers = (generate(solver, curved, noise, grid)[-1] for solver in (DDIM(), Euler()))
    assert torch.allclose(ours, eulers, atol=1e-4)


def textbook(x: Tensor, start: float, stop: float) -> Tensor:
    """DDIM inversion as Song et al. write it, in the variance-preserving space."""

    def alpha(sigma: float) -> float:
        return (1 - sigma) ** 2 / ((1 - sigma) ** 2 + sigma**2)

    def epsilon(z: Tensor, sigma: float) -> Tensor:
        there = z * math.sqrt((1 - sigma) ** 2 + sigma**2)
        return there + (1 - sigma) * curved(there, Step(0, 1, sigma, stage="invert"))

    z = x / math.sqrt((1 - start) ** 2 + start**2)
    eps = epsilon(z, stop)
    image = (z - math.sqrt(1 - alpha(start)) * eps) / math.sqrt(alpha(start))
    onward = math.sqrt(alpha(stop)) * image + math.sqrt(1 - alpha(stop)) * eps
    return onward * math.sqrt((1 - stop) ** 2 + stop**2)


@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.1), (0.3, 0.5), (0.8, 0.99), (0.0, 0.9)])
def test_inverting_is_the_textbooks(start: float, stop: float) -> None:
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(4))
    where = Step(0, 1, stop, stage="invert")
    ours, _ = DDIM().step(curved, x, None, where, start, stop)
    assert torch.allclose(ours, textbook(x, start, stop), atol=1e-5)


def test_of_first_order() -> None:
    """Away from pure noise, halving the steps halves the round trip's error."""
    image = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1)).double()

    def error(steps: int) -> float:
        x, levels = image, [0.7 * k / steps for k in range(steps + 1)]
        there = [Step(0, steps, s, stage="invert") for s in levels]
        for where, start, stop in zip(there, levels, levels[1:], strict=False):
            x, _ = DDIM().step(curved, x, None, where, start, stop)
        for where, start, stop in zip(there, levels[::-1], levels[-2::-1], strict=False):
            x, _ = DDIM().step(curved, x, None, where, start, stop)
        return (x - image).norm().item()

    orders = [math.log2(error(n) / error(2 * n)) for n in (160, 320)]
    assert all(0.9 < order < 1.1 for order in orders), orders


def test_at_pure_noise_the_images_prediction_serves() -> None:
    """There a predicted noise is the latent itself; the network's image determines the step."""
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(4))
    where, start = Step(0, 1, 1.0, stage="invert"), 0.8
    seen = x / scale(start)
    image = seen - curved(seen, where)
    ours, _ = DDIM().step(curved, x, None, where, start, 1.0)
    assert torch.allclose((1 - start) * image + start * ours, x, atol=1e-5)


def test_the_scale_is_one_at_both_ends() -> None:
    assert scale(0.0) == scale(1.0) == 1.0 and scale(0.5) == pytest.approx(math.sqrt(0.5))


def test_the_fixed_point_inverts_sampling() -> None:
    """With iterations the noise is the one from which sampling, by either rule, comes back."""
    image = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.5
    grid = Grid.uniform(12)

    def error(iterations: int, back: Solver) -> float:
        noise = invert(DDIM(iterations, average=False), curved, image, grid)[0]
        return (generate(back, curved, noise, grid)[-1] - image).norm().item()

    errors = [error(i, Euler()) for i in (0, 2, 30)]
    assert errors[0] > 4 * errors[1] and errors[2] < 1e-4 * errors[0]
    assert error(30, DDIM()) < 1e-4 * errors[0]


@pytest.mark.parametrize("iterations", [0, 2])
def test_its_cost(iterations: int) -> None:
    asked: list[Step] = []

    def velocity(x: Tensor, step: Step) -> Tensor:
        asked.append(step)
        return curved(x, step)

    invert(DDIM(iterations), velocity, torch.zeros(1, 2, 3, 3), Grid.uniform(5))
    assert len(asked) == 5 * DDIM(iterations).forwards == 5 * (iterations + 1)
    assert [step.evaluation for step in asked] == [*range(iterations + 1)] * 5
