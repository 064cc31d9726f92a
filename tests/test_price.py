"""The costs that `counterflow methods` tells, against forwards of a network."""

from __future__ import annotations

import numpy as np
import pytest

from counterflow.edit.editor import Editor
from counterflow.methods import registry
from counterflow.methods.price import price
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS


@pytest.mark.parametrize("name", registry.METHODS)
def test_a_price_is_what_an_edit_costs(one: Editor, name: str) -> None:
    """At the method's defaults, of two targets together."""
    how = registry.method(name)
    picture = render(SCENE)
    mask = np.ones(picture.size[::-1], bool) if how.needs_mask else None
    inversion = one.invert(picture, SOURCE, how)
    first, further = one.edit_batch(inversion, TARGETS, mask=mask)
    told = price(how)
    assert told.first == inversion.forwards + first.forwards
    assert told.further == further.forwards


@pytest.mark.parametrize(("settings", "first"), [({}, 210), ({"steps": 10, "iterations": 1}, 50)])
def test_a_price_follows_the_settings(settings: dict[str, int], first: int) -> None:
    assert price(registry.method("ftedit", **settings)).first == first
