"""Nothing is computed twice: later edits of a picture, the budget, prompts and pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterflow.controls.features import KEEP
from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.edit.recent import Recent
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.methods.price import price
from counterflow.toybox.render import render
from tools import FEW, SCENE, SOURCE, TARGETS

PICTURE = render(SCENE)


def inverted(editor: Editor, how: Method) -> Inversion:
    return editor.invert(PICTURE, SOURCE, how)


def edited(editor: Editor, inversion: Inversion, target: str) -> Edit:
    mask = np.ones(PICTURE.size[::-1], bool) if inversion.method.needs_mask else None
    return editor.edit(inversion, target, mask=mask)


@pytest.mark.parametrize("name", registry.METHODS)
def test_a_later_target_costs_what_one_more_in_a_batch_does(one: Editor, name: str) -> None:
    """And is the picture that it would be alone: what is kept leaves no trace."""
    how = registry.method(name, **{"steps": 4} | FEW.get(name, {}))
    inversion = inverted(one, how)
    first = edited(one, inversion, TARGETS[0])
    later = edited(one, inversion, TARGETS[1])
    told = price(how)
    assert first.forwards + inversion.forwards == told.first
    # A method that asks the source at the target's place finds its first, common place answered.
    assert told.further - 4 <= later.forwards <= told.further
    alone = edited(one, inverted(one, how), TARGETS[1])
    assert torch.allclose(later.latent, alone.latent, rtol=0, atol=1e-4)
