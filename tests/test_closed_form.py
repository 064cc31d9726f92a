"""Solvers and methods on flows that are known in closed form; no network, float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import ClosedForm, edited, field_of, linear, linear_path, mixture, slope
from counterflow.flow import Grid, Step
from counterflow.methods.base import Method
from counterflow.methods.registry import METHODS, method
from counterflow.solvers.base import SOLVERS, solver
from counterflow.solvers.trajectory import generate, invert
from scalar_rules import RULES

COUNTS = (8, 16, 64)
A, B, C, D = (field_of(seed) for seed in (1, 2, 3, 4))
MEANS = {"source": [A, B, A, B], "target": [C, D, C, D], "": [A, B, C, D]}
IMAGE, NOISE = ((A + 0.3 * field_of(9)).float().double(), field_of(20).float().double())
RATES = {"source": (0.6, 0.5), "target": (0.9, -0.4), "": (0.75, 0.1)}


def exactly(
    flow: ClosedForm, x: Tensor, prompt: str, start: float, stop: float, steps: int = 200
) -> Tensor:
    """Where a flow leads, by the classical fourth-order rule in small steps."""
    h = (stop - start) / steps
    for i in range(steps):
        s, v = start + i * h, lambda y, level: flow.law(y, level, flow.table[prompt])
        k = [v(x, s)]
        for part in (0.5, 0.5, 1.0):
            k.append(v(x + part * h * k[-1], s + part * h))
        x = x + h / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
    return x


# The flows themselves


def test_the_mixtures_velocity_is_the_mean_of_noise_less_image() -> None:
    """Of pairs that are weighted by how well they give the latent; and noise flows to pictures."""
    means = [torch.tensor([[[[1.5]]]]), torch.tensor([[[[-1.0]]]])]
    flow = mixture({"p": [mean.double() for mean in means]}, width=0.4)
    line = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    density = sum(torch.exp(-((line - float(mean)) ** 2) / 0.32) for mean in means)
    for s, x in ((0.3, 0.2), (0.7, -0.6), (0.95, 1.1)):
        noise = (x - (1 - s) * line) / s
        weight = density * torch.exp(-(noise**2) / 2)
        expected = float(((noise - line) * weight).sum() / weight.sum())
        at = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
        assert abs(float(flow.law(at, s, flow.table["p"])) - expected) <= 1e-9
    ends = torch.randn(2000, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    ends = exactly(flow, ends, "p", 1, 0, 100)
    near = [float(((ends - mean).abs() < 1.2).float().mean()) for mean in means]
    assert all(0.46 < share < 0.54 for share in near) and abs(sum(near) - 1) < 0.01


def test_the_linear_flow_has_its_path() -> None:
    flow = linear(RATES)
    for prompt in RATES:
        there = linear_path(flow, IMAGE, prompt, 0, 1)
        assert torch.allclose(there, exactly(flow, IMAGE, prompt, 0, 1), rtol=0, atol=1e-9)
        assert torch.allclose(linear_path(flow, there, prompt, 1, 0), IMAGE, rtol=0, atol=1e-12)


# Orders of convergence


@cache
def ends_of_the_mixture() -> dict[str, Tensor]:
    flow = mixture(MEANS)
    up, down = exactly(flow, IMAGE, "source", 0, 1), exactly(flow, NOISE, "source", 1, 0)
    return {"inversion": up, "sampling": down}


ORDERS = {"midpoint": 2, "fireflow": 2}
"""Those that are not 1; UniInv's is 1."""


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("way", ["inversion", "sampling"])
def test_solvers_converge_on_the_mixture(
    name: str, way: str, record_property: Callable[..., None]
) -> None:
    """Halving the steps divides the error by 2, or by 4 where the rule is of second order."""
    flow = mixture(MEANS)
    exact = ends_of_the_mixture()[way]

    def velocity(x: Tensor, step: Step) -> Tensor:
        return flow.law(x, step.sigma, flow.table["source"])

    errors = {}
    for steps in COUNTS:
        rule, grid = solver(name), Grid.uniform(steps)
        if way == "inversion":
            got = invert(rule, velocity, IMAGE, grid)[0]
        else:
            got = generate(rule, velocity, NOISE, grid)[-1]
        errors[steps] = float((got - exact).norm())
    record_property("order", slope(errors))
    assert ORDERS.get(name, 1) == solver(name).order
    assert abs(slope(errors) - solver(name).order) <= 0.3


EDIT_ORDERS: list[tuple[str, int, dict[str, Any]]] = [
    ("ftedit", 1, {}),
    ("ode", 1, {}),
    ("ddim", 1, {}),
    ("midpoint", 2, {}),
    ("rf-solver", 2, {"inject": 0}),
    ("fireflow", 2, {"inject": 0}),
    ("pmi", 1, {"mimic": "off", "inject": 0}),
    ("pmi-euler", 1, {"mimic": "off", "inject": 0}),
]


@pytest.mark.parametrize(("name", "order", "settings"), EDIT_ORDERS, ids=lambda each: str(each))
def test_edits_by_an_inversion_converge_to_the_flows_own(
    name: str, order: int, settings: dict[str, Any]
) -> None:
    """Up the linear flow of the source's prompt and down the guided one of the target's."""
    flow = linear(RATES)
    guided = flow.table[""] + 2 * (flow.table["target"] - flow.table[""])
    path = ClosedForm({"guided": guided}, flow.law)
    there = linear_path(flow, IMAGE, "source", 0, 1)
    exact = linear_path(path, there, "guided", 1, 0)
    errors = {}
    for steps in COUNTS:
        how = method(name, steps=steps, guidance=2.0, **settings)
        errors[steps] = float((edited(flow, IMAGE, how)[0] - exact).norm())
    assert abs(slope(errors) - order) <= 0.3, errors


# Equal prompts

IDENTITY: dict[str, tuple[int | None, dict[str, Any]]] = {
    "ftedit": (0, {"invert_guidance": 2.0, "compensate": "both"}),
    "ftedit-2": (0, {"invert_guidance": 2.0, "iterations": 60, "average": False}),
    "ftedit-attention": (1, {}),
    "ftedit-padding": (1, {}),
    "ftedit-reference": (1, {}),
    "fixed-point": (1, {}),
    "paired": (0, {}),
    "paired-short": (0, {}),
    "flowedit": (0, {"source_guidance": 2.0}),
    "directedit": (0, {"invert_guidance": 2.0}),
    "sdedit": (None, {}),
    "prompt-swap": (None, {}),
    "rf-inversion": (0, {"eta": 1.0, "eta_ratio": 1.0}),
    "rf-solver": (3, {}),
    "fireflow": (3, {}),
    "pmi": (1, {"mimic": "off"}),
    "pmi-euler": (1, {"mimic": "off"}),
    "uniedit": (2, {}),
    "flowalign": (0, {}),
    "dnaedit": (0, {"source_guidance": 2.0, "eta": 1.0, "skip_steps": 0}),
    "steerflow": (2, {}),
    "chordedit": (0, {"last_sigma": 0}),
    "dvrf": (0, {"source_guidance": 2.0}),
    "decflowedit": (0, {"source_guidance": 2.0}),
    "decflowedit-short": (0, {"source_guidance": 2.0}),
    "fusionedit": (0, {"source_guidance": 2.0}),
    "kv-edit": (1, {"skip_steps": 0}),
    "stable-flow": (1, {"nudge": 1.0}),
    "ode": (1, {}),
    "euler": (1, {}),
    "ddim": (1, {}),
    "midpoint": (3, {}),
}
"""The power of the step that the error has: 0 for no error, None for no identity
(SDEdit draws anew what its noise hides). All at guidance 2 if the identity is exact, else at 1.
There and back the midpoint rule, FireFlow's and UniInv with Euler's gain an order on one way.
"""


def everywhere(how: Method) -> Tensor | None:
    """A mask of everything for a method that edits nothing without one."""
    return torch.ones(1, 1, *IMAGE.shape[2:]) if how.needs_mask else None


EVERY = [name for name in METHODS if name != "consistedit"]
"""Of a method that looks at attention there is nothing to see here."""


@pytest.mark.parametrize("name", EVERY)
def test_equal_prompts_give_the_source_back(name: str) -> None:
    """To rounding, or to the order of the method's solvers."""
    order, settings = IDENTITY[name]
    flow = mixture(MEANS)
    # UniEdit inverts under the negative prompt: the identity is that of no prompts at all.
    prompt = "" if name == "uniedit" else "source"
    settings = {"guidance": 2.0 if order == 0 else 1.0} | settings
    errors = {}
    for steps in COUNTS[:1] if order in (0, None) else COUNTS:
        how = method(name, **({} if name == "chordedit" else {"steps": steps}) | settings)
        got, _ = edited(flow, IMAGE, how, prompt, prompt, mask=everywhere(how))
        errors[steps] = float((got - IMAGE).norm() / IMAGE.norm())
    if order is None:
        assert errors[8] > 0.1
    elif order == 0:
        assert errors[8] <= 1e-6
    else:
        assert abs(slope(errors) - order) <= 0.35
        assert errors[64] < 0.1


# Formulas of one number


def drawn(seed: int) -> Callable[[], float]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: float(torch.randn(1, 1, 1, 1, generator=generator))


SCALAR: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in RULES),
    ("flowedit", {"n_max": 9, "n_min": 4}),
    ("paired", {"guidance": 3.0, "begin": 0.5, "least": 0.0}),
    ("sdedit", {"n_start": 7}),
    ("dnaedit", {"skip_steps": 0, "eta": 0.3}),
    ("pmi", {"w": 0.5, "size": 3}),
    ("rf-inversion", {"eta": 0.4, "eta_ratio": 0.75}),
]


@pytest.mark.parametrize(("name", "settings"), SCALAR, ids=lambda each: str(each))
def test_a_method_is_its_recurrence(name: str, settings: dict[str, Any]) -> None:
    """On a flow of one number."""
    rows = {p: torch.tensor([[a, b]], dtype=torch.float64) for p, (a, b) in RATES.items()}
    flow = ClosedForm(rows, lambda x, s, row: row[:, :1, None, None] * x + row[:, 1:, None, None])

    def v(x: float, prompt: str, guidance: float = 1) -> float:
        one, none = (a * x + b for a, b in (RATES[prompt], RATES[""]))
        return none + guidance * (one - none)

    how = method(name, **({} if name == "chordedit" else {"steps": 16}) | settings)
    image = torch.tensor([[[[0.75]]]], dtype=torch.float64)
    got, _ = edited(flow, image, how, seed=3)
    levels: Sequence[float] = how.grid(flow, (32, 24)).sigmas
    expected = RULES[name](v, 0.75, levels, how, drawn(3))
    assert abs(float(got) - expected) <= 1e-6 * max(1, abs(expected))


# What an edit is for

STAYS = {"steerflow", "decflowedit", "decflowedit-short", "fusionedit"}
"""Their own masks leave places as they are, and here every place would have to change."""
FAR = STAYS | {"uniedit", "flowalign"}
"""Their usual weights are for networks, whose prompts differ less: here they shoot past."""


@pytest.mark.parametrize("name", EVERY)
def test_an_edit_lands_by_the_targets_mean(name: str) -> None:
    """Nearer than to the source's, in 50 steps or more with each method's own settings."""
    how = method(name)
    how = how if name == "chordedit" else how.but(steps=max(50, how.steps))
    got, _ = edited(mixture(MEANS), IMAGE, how, mask=everywhere(how))
    source, target = (float((got - (a + b) / 2).norm()) for a, b in ((A, B), (C, D)))
    assert (target < source) == (name not in STAYS)
    assert (target < float((A + B - C - D).norm() / 2)) == (name not in FAR | {"prompt-swap"})
