"""The methods that a newcomer is offered first, each with what it is good for."""

from __future__ import annotations

from dataclasses import dataclass

from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.price import price


@dataclass(frozen=True)
class Preset:
    """A method by a name that says what it is for."""

    label: str
    method: str


PRESETS = (
    Preset("Recommended", "paired"),
    Preset("Fast", "paired-short"),
    Preset("Careful with the background", "decflowedit"),
    Preset("The paper's: FTEdit", "ftedit"),
    Preset("Only inside a mask", "kv-edit"),
)
OTHER = "Another method"


def of(method: str) -> str:
    """The preset of a method; `OTHER` where it has none."""
    return next((each.label for each in PRESETS if each.method == method), OTHER)


def methods() -> list[tuple[str, str]]:
    """Every method that can be loaded: what it is called and costs, and its name."""
    return [(f"{name} · {forwards} forwards", name) for name, forwards in _costs()]


def _costs() -> list[tuple[str, int]]:
    costs = []
    for name in registry.entries():
        try:
            costs.append((name, price(registry.method(name)).first))
        except InputError:  # of another package, and broken: `counterflow methods` says so
            continue
    return costs


def about(name: str) -> str:
    """A method in a sentence: its title, what it costs, where it is from."""
    entry, method = registry.entry(name), registry.method(name)
    cost = price(method)
    mask = " It needs a mask." if method.needs_mask else ""
    return (
        f"{entry.title or method.title}. {cost.first} forwards, {cost.further} for each further "
        f"target.{mask} {method.paper}."
    )
