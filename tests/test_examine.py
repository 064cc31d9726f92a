"""`doctor --model`: what it says of every family, and of models that do not work."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from counterflow.backbones.families import FAMILIES
from counterflow.edit.editor import Editor
from counterflow.edit.examine import examine
from tiny import TINY
from tools import hooks

HARD_WIRED = ("longcat-image",)
"""Those whose own call draws 16 channels of noise, however few a tiny model has."""


def test_every_family_is_found_to_work(its: Editor, named: str) -> None:
    """Its own picture to rounding, or the family says why not; and nothing is left behind."""
    found = {each.what: each for each in examine(its)}
    if named in HARD_WIRED:
        assert "fails: mat1 and mat2" in found.pop("own pipeline").said
        return
    assert [each.what for each in found.values() if not each.works] == [], found
    assert list(found) == ["model", "own pipeline", "controls", "inversion", "edit", "memory"]
    same = not FAMILIES[TINY[named].family].differs
    assert not same or "by 0 of 255" in found["own pipeline"].said or "by 1 of" in str(found)
    assert hooks(its.backbone) == 0


def test_a_model_that_does_not_work_is_told(its: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone: Any = its.backbone
    velocity = backbone.velocity
    monkeypatch.setattr(backbone, "velocity", lambda *asked: velocity(*asked) + 1)
    found = {each.what: each.works for each in examine(its)}
    assert found["own pipeline"] is bool(FAMILIES[backbone.family].differs)
    monkeypatch.setattr(backbone, "sites", list)
    lacks = bool(FAMILIES[backbone.family].lacks)
    assert next(each for each in examine(its) if each.what == "controls").works is lacks


def test_the_command(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("doctor", "--model", "toybox", "--json")
    found = json.loads(out)
    assert code == 0 and found["healthy"] and len(found["findings"]) == 6
    monkeypatch.setattr("counterflow.edit.examine.NEAR", -1)
    code, out, err = run("doctor", "--model", "toybox")
    assert code == 3 and "NO  own pipeline" in out and "does not work here: own pipeline" in err
    assert torch.is_grad_enabled()
