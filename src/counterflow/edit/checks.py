"""What is refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterflow.edit.inversion import Inversion
from counterflow.errors import InputError
from counterflow.flow import Latent
from counterflow.kinds import Choice, Integer, Number, takes
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.methods.shared import Iterated
from counterflow.solvers.base import SAMPLERS
from counterflow.solvers.trajectory import Trajectory

SEED = Integer(0, 2**63 - 1)
"""What generators take as a seed."""


def chosen(method: Method | str, settings: Mapping[str, Any]) -> Method:
    """A method by name or itself, with some settings changed."""
    return adopted(method, settings) if isinstance(method, str) else method.but(**settings)


def adopted(
    name: str | None,
    settings: Mapping[str, Any],
    inverted: Method | None = None,
    texts: Mapping[str, str] | None = None,
) -> Method:
    """The method of a name, for a picture that was inverted for another one perhaps.

    How the picture was inverted is taken over, as far as both methods can tell it and the name does
    not say otherwise (`ddim` is no Euler). Without a name it is the method of the inversion, or
    FTEdit. `texts` are settings as `--set` gives them.
    """
    if name is None:
        how = inverted or registry.method("ftedit")
        return how.but(**settings, **how.parse(texts or {}))
    how = registry.method(name)
    taken: dict[str, Any] = {}
    if inverted is not None and how.inversion is not None:
        names = {each.name for each in Iterated.declared()} - set(registry.entry(name).settings)
        kinds = {each.name: each.kind for each in how.declared() if each.name in names}
        before = inverted.to_dict()
        taken = {k: before[k] for k in kinds if k in before and takes(kinds[k], before[k])}
    given = dict(**settings, **how.parse(texts or {}))
    return how.but(**taken | given)  # all at once: steps and skip_steps must fit each other


def fitting(
    method: Method | str | None,
    settings: Mapping[str, Any],
    inversion: Inversion,
    noise: Latent | None = None,
) -> Method:
    """The method of an edit of an inversion; InputError where it needs another inversion."""
    if isinstance(method, str | None):
        how = adopted(method, settings, inversion.method)
    else:
        how = method.but(**settings)
    if noise is not None and (how.skipped or not how.follows):
        raise InputError(
            f"{how.name} cannot start from other noise: it takes a method as ftedit, and "
            "skip_steps 0"
        )
    check_fits(how, inversion.method, inversion.trajectory, inversion.recorded)
    return how


def check_fits(how: Method, before: Method, trajectory: Trajectory | None, recorded: bool) -> None:
    """InputError where a method cannot edit what was inverted for another one, or recorded."""
    if how.inversion is None:
        return
    if trajectory is None:
        raise InputError(
            f"{before.name} inverts nothing, and {how.name} needs an inversion: "
            f"invert the picture for {how.name}"
        )
    if recorded:
        if not how.follows or how.steps != trajectory.grid.steps:
            raise InputError(
                f"this trajectory of {trajectory.grid.steps} steps was recorded, not inverted: "
                f"{how.name} with {how.steps} steps cannot follow it; ftedit with as many can"
            )
    elif how.inversion != before.inversion:
        raise InputError(
            f"this is inverted already, by {before.inversion}; {how.name} needs {how.inversion}: "
            "leave its settings out, or invert again"
        )


def check_mask(how: Method, given: bool) -> None:
    """Refuse a method that needs a mask where there is none."""
    if how.needs_mask and not given:
        raise InputError(f"{how.name} edits inside a mask: give one")


def check_seed(seed: int) -> None:
    """Refuse what no generator takes as a seed."""
    SEED.check("seed", seed)


def check_generate(
    steps: int,
    guidance: float,
    seed: int,
    width: int | None,
    height: int | None,
    solver: str = "euler",
) -> None:
    """Refuse what `Editor.generate` could not do; InputError says what it takes."""
    check_seed(seed)
    Integer(1, 1000).check("steps", steps)
    Number(0, 100).check("guidance", guidance)
    Choice(*SAMPLERS).check("solver", solver)
    for name, value in (("width", width), ("height", height)):
        if value is not None:
            Integer(16, 8192).check(name, value)
