"""PMI and mimic-CFG as a correction of any solver that steps along its last evaluation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from counterflow.flow import Grid, Step
from counterflow.solvers.base import Solver
from counterflow.solvers.euler import Euler
from counterflow.solvers.fireflow import FireFlow
from counterflow.solvers.midpoint import Midpoint
from counterflow.solvers.pmi import PMI
from counterflow.solvers.trajectory import generate, invert
from counterflow.solvers.uniinv import UniInv
from tools import distance

BASES: tuple[Solver, ...] = (Euler(), Euler(clean=True), Midpoint(), UniInv(), FireFlow())
every_base = pytest.mark.parametrize("base", BASES, ids=repr)
GRID = Grid((1.0, 0.8, 0.5, 0.45, 0.1, 0.0))


def velocity(x: Tensor, step: Step) -> Tensor:
    return 0.8 * torch.sin(x + step.sigma) + step.sigma


def latent(seed: int, rows: int = 1) -> Tensor:
    return torch.randn(rows, 2, 3, 4, generator=torch.Generator().manual_seed(seed))


@every_base
@pytest.mark.parametrize("off", [{"size": 0}, {"rule": "published", "w": 1.0}], ids=str)
def test_without_a_correction_it_is_its_base(base: Solver, off: dict[str, object]) -> None:
    """Both ways, to the bit or to rounding, with as many evaluations."""
    made, asked = PMI(base, **off), []  # type: ignore[arg-type]

    def counted(x: Tensor, step: Step) -> Tensor:
        asked.append((step.sigma, step.evaluation))
        return velocity(x, step)

    def travelled(solver: Solver) -> Tensor:
        up = invert(solver, counted, latent(0), GRID).latents
        return torch.cat([up, generate(solver, counted, latent(0), GRID)[:, 0]])

    first = travelled(base)
    expected, asked[:] = list(asked), []
    assert distance(first, travelled(made)) <= 1e-5 and asked == expected
    assert made.forwards == base.forwards


@every_base
def test_each_step_but_the_first_goes_off_by_a_fixed_length(base: Solver) -> None:
    """`K h²`, whatever the velocities are, and the first by nothing."""
    made, x = PMI(base, size=7), latent(1)
    state, reach = made.init(x), math.sqrt(14 + 3 * math.sqrt(14))
    for i, (start, stop) in enumerate(pairwise(GRID.sigmas[::-1])):
        step = Step(4 - i, 5, stop)
        plain, _ = base.step(velocity, x, state.base, step, start, stop)
        x, state = made.step(velocity, x, state, step, start, stop)
        length = reach * (stop - start) ** 2 if i else 0
        assert abs(float((x - plain).norm()) - length) <= 1e-5


def test_the_mean_is_of_the_velocities_by_the_widths_of_their_steps() -> None:
    """The paper's rule leaves what already is along the mean, and shortens what is across it."""
    ways = iter([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    made = PMI(Euler(), "paper", w=0.25)
    x = torch.zeros(1, 1, 1, 2)
    levels, state = (1.0, 0.8, 0.5, 0.0), made.init(x)
    seen: list[list[float]] = []

    def told(x: Tensor, step: Step) -> Tensor:
        seen.append(next(ways))
        return torch.tensor(seen[-1]).reshape(1, 1, 1, 2)

    for k, (a, b) in enumerate(pairwise(levels)):
        new, state = made.step(told, x, state, Step(k, 3, a), a, b)
        got, x = ((new - x) / (b - a)).flatten(), new
        widths = [p - q for p, q in pairwise(levels[: k + 2])]
        pairs = list(zip(widths, seen, strict=True))
        mean = torch.tensor([sum(w * v[i] for w, v in pairs) / sum(widths) for i in (0, 1)])
        v = torch.tensor(seen[-1])
        along = mean * (v @ mean) / (mean @ mean)
        assert torch.allclose(got, along + 0.25 * (v - along), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", ["pmi", "published", "paper"])
@pytest.mark.parametrize("twice", [False, True])
def test_rows_do_not_mix(rule: str, twice: bool) -> None:
    """Of a batch each row is what it is alone."""
    rows, made = latent(2, rows=3), PMI(rule=rule, w=0.5, twice=twice)  # type: ignore[arg-type]
    together = generate(made, velocity, rows, GRID)[-1]
    for i in range(3):
        alone = generate(made, velocity, rows[i : i + 1], GRID)[-1]
        assert distance(together[i : i + 1], alone) <= 1e-5
