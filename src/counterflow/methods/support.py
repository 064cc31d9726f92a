"""Which methods a family of models refuses, and which suit a model of few steps: asked, not listed.

A method is asked by its own `check_model`, about a model of nothing that has what its family has.
"""

from __future__ import annotations

from functools import lru_cache

from counterflow.backbones.families import FAMILIES
from counterflow.errors import InputError
from counterflow.methods.price import Nothing
from counterflow.methods.registry import METHODS, method


@lru_cache
def refusals(family: str) -> dict[str, str]:
    """What methods say that refuse a family's models at their defaults, by their names."""
    model, said = Nothing(), {}
    model.family = family
    if "modulated text" in FAMILIES[family].lacks:
        model.modules = [site for site in model.modules if site.part != "modulated"]
    for name in METHODS:
        try:
            method(name).check_model(model)
        except InputError as error:
            said[name] = str(error)
    return said


def without_inversion() -> list[str]:
    """The methods that invert nothing, without their variants."""
    plain = [name for name, entry in METHODS.items() if not entry.settings]
    return [name for name in plain if method(name).inversion is None]


def advice(distilled: str) -> str:
    """What `Backbone.distilled` says, and which methods make more sense; empty where that is.

    This is reasoned from what the methods need, and measured on no released model.
    """
    if not distilled:
        return ""  # without a look at any method: every model that is opened comes here
    suited = ", ".join(without_inversion())
    return f"{distilled}; methods that invert nothing make more sense: {suited}"
