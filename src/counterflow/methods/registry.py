"""Every method by name: a class and, for a variant of it, the settings that differ."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from counterflow.errors import InputError

if TYPE_CHECKING:
    from counterflow.methods.base import Method

DEFAULT = "paired"
"""The method of `edit` where none is named and the picture is not inverted for one already."""

ENTRY_POINTS = "counterflow.methods"
"""Group of entry points by which other packages add methods, each `name = "module:Class"`."""


@dataclass(frozen=True)
class Entry:
    """Where a method is, as `module:Class`; for a variant, its title and what it sets."""

    target: str
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type[Method]:
        """The class; InputError where the package that names it does not have it."""
        module, _, name = self.target.partition(":")
        try:
            method: type[Method] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the method at {self.target} cannot be loaded: {error}") from None
        return method


FTEDIT = "counterflow.methods.ftedit:FTEdit"
DECFLOWEDIT = "counterflow.methods.decflowedit:DecFlowEdit"
PAIRED = "counterflow.methods.paired:Paired"
PMI = "counterflow.methods.pmi:PMI"
ODE = "counterflow.methods.ode:ODE"

METHODS: dict[str, Entry] = {
    "ftedit": Entry(FTEDIT),
    "ftedit-reference": Entry("counterflow.methods.ftedit_reference:FTEditReference"),
    "ftedit-2": Entry(
        FTEDIT,
        "FTEdit with two fixed-point iterations, as in its benchmark script",
        {"iterations": 2},
    ),
    "ftedit-attention": Entry(
        FTEDIT,
        "FTEdit with attention injection in its first 15 % of the steps",
        {"attention_ratio": 0.15, "attention_tokens": "both"},
    ),
    "ftedit-padding": Entry(
        FTEDIT,
        "FTEdit whose text control holds padding too, as its reference does",
        {"text_padding": True},
    ),
    "fixed-point": Entry(
        FTEDIT,
        "FTEdit's inversion and compensation, without its text control",
        {"text_ratio": 0.0},
    ),
    "paired": Entry(PAIRED),
    "paired-short": Entry(
        PAIRED, "Paired in four steps", {"steps": 4, "begin": 0.8, "unguided": 0, "share": 1.0}
    ),
    "flowedit": Entry("counterflow.methods.flowedit:FlowEdit"),
    "directedit": Entry("counterflow.methods.directedit:DirectEdit"),
    "sdedit": Entry("counterflow.methods.sdedit:SDEdit"),
    "prompt-swap": Entry(
        "counterflow.methods.sdedit:SDEdit",
        "Prompt swap: the target sampled from noise, the picture unseen",
        {"n_start": 1000},
    ),
    "rf-inversion": Entry("counterflow.methods.rf_inversion:RFInversion"),
    "rf-solver": Entry("counterflow.methods.rf_solver:RFSolver"),
    "fireflow": Entry("counterflow.methods.fireflow:FireFlow"),
    "uniedit": Entry("counterflow.methods.uniedit:UniEdit"),
    "flowalign": Entry("counterflow.methods.flowalign:FlowAlign"),
    "dnaedit": Entry("counterflow.methods.dnaedit:DNAEdit"),
    "steerflow": Entry("counterflow.methods.steerflow:SteerFlow"),
    "chordedit": Entry("counterflow.methods.chordedit:ChordEdit"),
    "dvrf": Entry("counterflow.methods.dvrf:DVRF"),
    "decflowedit": Entry(DECFLOWEDIT),
    "decflowedit-short": Entry(
        DECFLOWEDIT,
        "DecFlowEdit with a quarter of the steps in its first edit",
        {"first_share": 0.25},
    ),
    "fusionedit": Entry("counterflow.methods.fusionedit:FusionEdit"),
    "consistedit": Entry("counterflow.methods.consistedit:ConsistEdit"),
    "kv-edit": Entry("counterflow.methods.kv_edit:KVEdit"),
    "stable-flow": Entry("counterflow.methods.stable_flow:StableFlow"),
    "pmi": Entry(PMI),
    "pmi-euler": Entry(PMI, "PMI and mimic-CFG on Euler's rule", {"base": "euler"}),
    "ode": Entry(ODE),
    "euler": Entry(ODE, "Euler inversion, the target prompt alone", {"solver": "euler"}),
    "ddim": Entry(ODE, "DDIM inversion, the target prompt alone", {"solver": "ddim"}),
    "midpoint": Entry(ODE, "Midpoint inversion, the target prompt alone", {"solver": "midpoint"}),
}
"""By name, the paper's first."""


@dataclass(frozen=True)
class Variant:
    """A method with its settings, under the name and the title that say what they are."""

    name: str
    title: str
    method: Method


def entries() -> dict[str, Entry]:
    """Every method by name, those of other packages after ours."""
    others = {each.name: Entry(each.value) for each in entry_points(group=ENTRY_POINTS)}
    return METHODS | {name: entry for name, entry in others.items() if name not in METHODS}


def entry(name: str) -> Entry:
    """The entry of a name; InputError, naming what there is, for another."""
    if name in METHODS:  # without a look at every package that is installed
        return METHODS[name]
    methods = entries()
    if name not in methods:
        raise InputError(f"no method {name!r}; there are {', '.join(methods)}")
    return methods[name]


def method(name: str, **changes: Any) -> Method:
    """The method of a name, with some settings changed; InputError for what there is not."""
    which = entry(name)
    return which.load()(**which.settings).but(**changes)


def changed(name: str, how: Method) -> dict[str, str]:
    """The settings in which a method differs from the one of a name, as `--set` takes them."""
    default = method(name)
    return {
        each.name: each.kind.write(getattr(how, each.name))
        for each in how.declared()
        if getattr(how, each.name) != getattr(default, each.name)
    }


def from_record(name: str, settings: Mapping[str, Any]) -> Method:
    """The method that `Method.name` and `Settings.to_dict` recorded."""
    return entry(name).load().from_dict(settings)


def variant(name: str, texts: Mapping[str, str] | None = None) -> Variant:
    """A method with settings given as text, `{"steps": "10"}`, under a name that says so."""
    which = entry(name)
    method = which.load()(**which.settings)
    texts = texts or {}
    settings = ",".join(f"{key}={text}" for key, text in texts.items())
    title = which.title or method.title
    return Variant(
        f"{name},{_slug(settings)}" if texts else name,
        f"{title}, {settings.replace(',', ', ')}" if texts else title,
        method.but(**method.parse(texts)),
    )


def _slug(text: str) -> str:
    """Settings as part of a folder's name; what had to go is told apart by a digest."""
    plain = re.sub(r"[^\w.,=+-]+", "-", text)[:80].strip(".-")
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()  # it may hold stray bytes
    return plain if plain == text else f"{plain}-{digest[:6]}"
