"""One step of an ODE solver, from one noise level to another, in either direction.

A solver is small: `init` makes its state, `step` takes and returns it, and `order` and `forwards`
state its accuracy and its cost. The loop in `counterflow.solvers.trajectory` owns everything else,
and a method may drive an edit with a solver too. To add one, write its file and a line in
`SOLVERS`; the tests measure its order and count its evaluations.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from counterflow.flow import Step, Velocity


@runtime_checkable
class Solver(Protocol):
    """One rule for a step. State is whatever the rule wants to remember between steps."""

    @property
    def order(self) -> int:
        """Order of convergence: halving the steps divides the error by `2 ** order`."""
        ...

    @property
    def forwards(self) -> int:
        """Evaluations of the velocity in one step towards the noise."""
        ...

    def init(self, x: Tensor) -> Any:
        """State before the first step."""
        ...

    def step(
        self, velocity: Velocity, x: Tensor, state: Any, step: Step, start: float, stop: float
    ) -> tuple[Tensor, Any]:
        """Latent at noise level `stop` from the one at `start`, and the new state."""
        ...


SOLVERS = {
    "euler": "counterflow.solvers.euler:Euler",
    "fixed-point": "counterflow.solvers.fixed_point:FixedPoint",
    "extrapolated": "counterflow.solvers.extrapolated:Extrapolated",
    "ddim": "counterflow.solvers.ddim:DDIM",
    "midpoint": "counterflow.solvers.midpoint:Midpoint",
    "uniinv": "counterflow.solvers.uniinv:UniInv",
    "fireflow": "counterflow.solvers.fireflow:FireFlow",
    "pmi": "counterflow.solvers.pmi:PMI",
}
"""By name, as `module:Class`."""


SAMPLERS = ("euler", "ddim", "midpoint")
"""Those of them that sample too, under the names of a user's choice."""


def solver(name: str, **options: Any) -> Solver:
    """The solver of a name, made with its options."""
    module, _, cls = SOLVERS[name].partition(":")
    rule: Solver = getattr(importlib.import_module(module), cls)(**options)
    return rule
