"""Form fields for the settings of methods, made from their declarations.

There is one field for each name that a setting has in any method. Where a method is chosen its own
are shown, with its defaults, its bounds and its help.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from counterflow.errors import InputError
from counterflow.kinds import Choice, Flag, Integer, Kind, Number
from counterflow.methods import registry
from counterflow.methods.base import Method

FIRST = ("steps", "guidance")
"""Settings that are always in sight; the others are folded."""


def fields(names: Sequence[str]) -> dict[str, list[Kind]]:
    """Every setting of some methods by its name, with the kinds that it has."""
    kinds: dict[str, list[Kind]] = {}
    for name in names:
        for each in registry.method(name).declared():
            kinds.setdefault(each.name, []).append(each.kind)
    return kinds


def widget(name: str, kinds: Sequence[Any]) -> Any:
    """The field of a setting, hidden: a number, a tick, a choice, or text where kinds differ."""
    label = name.replace("_", " ")
    common: dict[str, Any] = {
        "label": label,
        "visible": False,
        "interactive": True,
        "elem_id": f"set-{name}",
    }
    if all(isinstance(kind, Integer) for kind in kinds):
        return gr.Number(precision=0, min_width=120, **common)
    if all(isinstance(kind, Number) for kind in kinds):
        return gr.Number(step=0.05, min_width=120, **common)
    if all(isinstance(kind, Flag) for kind in kinds):
        return gr.Checkbox(**common)
    if all(isinstance(kind, Choice) for kind in kinds):
        options = dict.fromkeys(word for kind in kinds for word in kind.options)
        return gr.Dropdown(choices=list(options), min_width=120, **common)
    return gr.Textbox(max_length=500, min_width=120, **common)


def shown(widgets: Mapping[str, Any], method: Method) -> dict[Any, Any]:
    """Updates that show a method's settings, as they are, and hide those of others."""
    declared = {each.name: each for each in method.declared()}
    updates: dict[Any, Any] = {}
    for name, field in widgets.items():
        if name not in declared:
            updates[field] = gr.update(visible=name in FIRST, interactive=False, value=None)
            continue
        each = declared[name]
        kind: Any = each.kind
        more: dict[str, Any] = {"info": each.help}
        if isinstance(field, gr.Number):
            more |= {"minimum": kind.low, "maximum": kind.high}
        elif isinstance(field, gr.Dropdown):
            more |= {"choices": list(kind.options)}
        elif isinstance(field, gr.Textbox):
            more["info"] = f"{each.help} It takes {kind.says}."
        value = getattr(method, name)
        text = kind.write(value) if isinstance(field, gr.Textbox) else value
        updates[field] = gr.update(visible=True, interactive=True, value=text, **more)
    return updates


def texts(method: str, given: Mapping[str, Any]) -> dict[str, str]:
    """What the fields hold for a method, as text that `--set` would take."""
    return {
        each.name: text(each.name, given[each.name])
        for each in registry.method(method).declared()
        if each.name in given
    }


def text(name: str, value: Any) -> str:
    """A field's value as text; InputError where it was emptied."""
    if value is None:
        raise InputError(f"{name} is empty: give it a value, or choose the method again.")
    return value if isinstance(value, str) else json.dumps(value)
