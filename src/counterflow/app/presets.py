"""The methods that a newcomer is offered first, each with what it is good for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.methods.price import price


@dataclass(frozen=True)
class Preset:
    """A method by a name that says what it is for."""

    label: str
    name: str
    """The method's."""
    tuned: Mapping[str, str] = field(default_factory=dict)
    """Settings for the bundled models: the best of docs/tuned.json within 40 forwards."""

    def method(self, bundled: bool) -> Method:
        """The method, with the settings that suit a bundled model or with its own."""
        how = registry.method(self.name)
        return how.but(**how.parse(self.tuned)) if bundled else how


DECFLOWEDIT = {
    "steps": "8",
    "n_max": "7",
    "source_guidance": "1.5",
    "guidance": "1.5",
    "first_share": "0.5",
    "threshold": "0.35",
}
KV_EDIT = {"steps": "6", "skip_steps": "1", "guidance": "2.0"}

PRESETS = (
    Preset("Recommended", "paired"),
    Preset("Fast", "paired-short"),
    Preset("Careful with the background", "decflowedit", DECFLOWEDIT),
    Preset("The paper's: FTEdit", "ftedit"),
    Preset("Only inside a mask", "kv-edit", KV_EDIT),
)
OTHER = "Another method"


def choices(bundled: bool) -> list[tuple[str, str]]:
    """The presets, and `OTHER`: what each is called and costs, and its label."""
    costs = [(each.label, price(each.method(bundled)).first) for each in PRESETS]
    return [*((f"{label} · {cost} forwards", label) for label, cost in costs), (OTHER, OTHER)]


def of(method: Method, bundled: bool) -> str:
    """The preset that a method is, its settings included; `OTHER` where it is none."""
    return next((each.label for each in PRESETS if each.method(bundled) == method), OTHER)


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


def about(name: str, method: Method) -> str:
    """A method in a sentence: its title, what it costs, where it is from."""
    entry, cost = registry.entry(name), price(method)
    mask = " It needs a mask." if method.needs_mask else ""
    return (
        f"{entry.title or method.title}. {cost.first} forwards, {cost.further} for each further "
        f"target.{mask} {method.paper}."
    )
