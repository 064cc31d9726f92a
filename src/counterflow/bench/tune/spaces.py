"""Which values the search tries: for all methods by the setting's name, for some by their own.

Every method has the same number of trials, whatever the size of its space. Values are drawn in the
order of the lists, so one may depend on those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Drawn = Mapping[str, Any]
Values = Sequence[Any | Callable[[Drawn], Any]]
"""Of which one is drawn; a function is called with what was drawn before."""


def share(*shares: float, least: int = 0) -> Values:
    """Numbers of steps, as shares of all of them."""

    def steps(part: float) -> Callable[[Drawn], int]:
        return lambda drawn: max(least, round(part * drawn["steps"]))

    return [steps(part) for part in shares]


def alike(drawn: Drawn) -> Any:
    """Guided as the target is."""
    return drawn["guidance"]


COMMON: dict[str, Values] = {
    "steps": (4, 6, 8, 10, 14, 20),
    "guidance": (1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    "source_guidance": (1.0, 1.5, alike, alike),
    "invert_guidance": (1.0, 1.0, alike),
    "iterations": (0, 1, 2),
    "skip_steps": share(0, 0, 0.1, 0.2, 0.3),
    "n_max": share(1, 0.9, 0.8, 0.66, least=1),
    "inject": share(0, 0.15, 0.3),
    "text_ratio": (0.0, 0.3, 0.6, 1.0),
    "attention_ratio": (0.0, 0.15, 0.3),
    "late": (0.316, 0.667, 1.0),
}
"""By the setting's name; a setting that is not here keeps the method's default."""

PMI: dict[str, Values] = {
    "size": (0, 22),
    "mimic": ("published", "paper", "off"),
    "w": (0.9, 0.94, 1.0),
}

PAIRED: dict[str, Values] = {
    "steps": (2, 3, 4, 5, 6, 7, 8),
    "unguided": (0, 1, 2, 3),
    "share": (0.0, 0.1, 0.3, 0.5),
    "clear": (0.0, 2.5, 3.5),
    "begin": (0.7, 0.75, 0.8, 0.85, 0.9),
    "least": (0.0, 0.2, 0.3, 0.5),
}

OWN: dict[str, dict[str, Values]] = {
    "paired": PAIRED,
    "paired-short": PAIRED,
    "ftedit": {"compensate": ("source", "both")},
    "fixed-point": {"compensate": ("source", "both"), "text_ratio": (0.0,)},
    "sdedit": {"n_start": share(0.5, 0.6, 0.7, 0.8, least=1), "guidance": (2.0, 3.0, 5.0, 7.0)},
    "rf-inversion": {
        "gamma": (0.0, 0.3, 0.5),
        "eta": (0.5, 0.7, 0.9, 1.0),
        "eta_ratio": (0.1, 0.25, 0.4, 0.6),
    },
    "uniedit": {
        "alpha": (0.4, 0.6, 0.8, 1.0),
        "omega": (0.0, 0.5, 1.0, 2.0, 5.0),
        "guidance": (1.0, 1.5, 2.0),
        "signed": (True, False),
    },
    "flowalign": {"guidance": (1.5, 2.0, 3.0, 5.0, 8.0, 13.5), "weight": (0.0, 0.01, 0.05, 0.1)},
    "dnaedit": {"eta": (0.5, 0.8, 0.9, 1.0)},
    "steerflow": {
        "alpha": (0.5, 1.0, 2.0, 5.5),
        "quantile": (0.9, 0.95),
        "closing": (1, 3, 5),
        "sharpness": (5.0, 15.0),
    },
    "chordedit": {
        "steps": (1,),
        "sigma": (0.5, 0.7, 0.8, 0.9, 1.0),
        "delta": (0.05, 0.15, 0.3),
        "strength": (0.5, 1.0, 1.5, 2.0),
        "last_sigma": (0.0, 0.1, 0.3),
        "n_avg": (1, 2, 4),
        "guidance": (1.0, 1.5, 2.0),
    },
    "dvrf": {"drift": (0.0, 0.5, 1.0)},
    "decflowedit": {"first_share": (0.25, 0.5, 1.0), "threshold": (0.35, 0.45, 0.55)},
    "decflowedit-short": {"threshold": (0.35, 0.45, 0.55)},
    "fusionedit": {"maps": (1, 2, 4), "map_step": share(0.2, 0.4, 0.6)},
    "consistedit": {
        "alpha": (0.0, 0.1, 0.3, 0.6, 1.0),
        "threshold": (0.1, 0.2, 0.3),
        "guidance": (1.0, 1.5, 2.0),
    },
    "kv-edit": {
        "invert_guidance": (1.0, 1.5),
        "guidance": (1.0, 1.5, 2.0, 3.0, 5.5),
        "re_init": (True, False),
    },
    "stable-flow": {"nudge": (1.0, 1.15), "aligned": (True, False)},
    "pmi": PMI,
    "pmi-euler": PMI,
}
"""By the method's name: values of settings that only it has, or that mean something else there."""


def space(name: str, declared: Sequence[str]) -> dict[str, Values]:
    """The values of a method's settings that are tried."""
    values = COMMON | OWN.get(name, {})
    return {key: tried for key, tried in values.items() if key in declared}
