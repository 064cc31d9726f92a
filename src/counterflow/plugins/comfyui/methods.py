"""A method with its settings as one input of a node, made from where the settings are declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterflow.errors import InputError
from counterflow.kinds import Choice, Flag, Integer, Number
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.plugins.comfyui.schema import io
from counterflow.settings import Declared


def method_input() -> Any:
    """Every method, and under the chosen one its settings as they are declared."""
    names = list(registry.entries())
    names.sort(key=lambda name: name != registry.DEFAULT)  # the first is the default
    return io.DynamicCombo.Input(
        "method",
        options=[io.DynamicCombo.Option(name, _inputs(registry.method(name))) for name in names],
        tooltip="Which method edits; below, its settings.",
    )


def method_of(chosen: Mapping[str, Any] | None) -> Method:
    """The method that an input of `method_input` holds. Raises InputError for what there is not."""
    if not chosen or not chosen.get("method"):
        raise InputError("no method is chosen, or one that is not installed here: choose another")
    given = dict(chosen)
    how = registry.method(given.pop("method"))
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    return how.but(**{**given, **how.parse(texts)})


def _inputs(how: Method) -> list[Any]:
    """A method's settings, with this method's own values as defaults."""
    return [_input(each, getattr(how, each.name)) for each in how.declared()]


def _input(setting: Declared, value: Any) -> Any:
    """A setting as a widget; windows, words and numbers of blocks as text, as `--set` takes it."""
    name, kind, help = setting.name, setting.kind, setting.help
    if isinstance(kind, Flag):
        return io.Boolean.Input(name, default=value, tooltip=help)
    if isinstance(kind, Choice):
        return io.Combo.Input(name, options=list(kind.options), default=value, tooltip=help)
    if isinstance(kind, Integer):
        return io.Int.Input(name, default=value, min=kind.low, max=kind.high, tooltip=help)
    if isinstance(kind, Number):
        return io.Float.Input(
            name,
            default=float(value),
            min=kind.low,
            max=kind.high,
            step=0.01,
            round=0.0001,
            tooltip=help,
        )
    return io.String.Input(name, default=kind.write(value), tooltip=f"{help} As {kind.says}.")
