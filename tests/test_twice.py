"""Nothing is computed twice: later edits of a picture, the budget, prompts and pictures."""

from __future__ import annotations

import json
from pathlib import Path

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
from tools import FEW, PROMPT, SCENE, SOURCE, TARGET, TARGETS, Run, refused

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


def test_beyond_the_budget_it_is_computed_again(one: Editor) -> None:
    """The same pictures for more forwards, and never more bytes than allowed."""
    size = one.invert(PICTURE, SOURCE, "paired").image.nbytes
    costs = {}
    for keep in (KEEP, 2 * size, 0):
        small = Editor(one.backbone, keep=keep)
        inversion = inverted(small, registry.method("paired", least=0.0))
        pictures = [small.edit(inversion, target) for target in TARGETS]
        costs[keep] = [each.forwards for each in pictures]
        assert inversion.features.size <= keep
        if keep == KEEP:
            expected = pictures
        for got, wanted in zip(pictures, expected, strict=True):
            assert torch.allclose(got.latent, wanted.latent, rtol=0, atol=1e-5)
    assert [*costs.values()] == [[20, 10], [20, 20 - 2], [20, 20]]


def test_what_was_asked_otherwise_is_asked_again(one: Editor) -> None:
    """Another seed's noise, guidance or picture; and an edit whose mask alone differs is not."""
    inversion = one.invert(PICTURE, SOURCE, "paired")
    one.edit(inversion, TARGETS[0])
    assert one.edit(inversion, TARGETS[1], seed=1).forwards == 20
    assert one.edit(inversion, TARGETS[1], guidance=3.0).forwards == 10
    assert one.edit(inversion, TARGETS[1], begin=0.7).forwards == 20
    assert one.edit(inversion, TARGETS[1], method="flowedit", steps=4).forwards == 16
    mask = np.zeros(PICTURE.size[::-1], bool)
    mask[:64] = True
    assert one.edit(inversion, TARGETS[1], mask=mask).forwards == 10
    inversion.forget()
    assert one.edit(inversion, TARGETS[0]).forwards == 20


def test_a_source_whose_features_are_lacking_is_asked_again(one: Editor) -> None:
    """Its velocity being known does not stand for what a control needs of it."""
    inversion = one.invert(PICTURE, SOURCE, "ftedit", steps=4)
    plain = one.edit(inversion, TARGETS[0], text_ratio=0.0, compensate="both")
    assert one.edit(inversion, TARGETS[0], compensate="both").forwards == plain.forwards == 4 * 4
    assert one.edit(inversion, TARGETS[1], compensate="both").forwards == 4 * 2


def test_prompts_and_pictures_are_encoded_once(
    one: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    backbone = one.backbone
    embed, encode = backbone.embed, backbone.encode
    monkeypatch.setattr(backbone, "embed", lambda prompt: seen.append(prompt) or embed(prompt))
    monkeypatch.setattr(backbone, "encode", lambda x: seen.append("picture") or encode(x))
    editor = Editor(backbone)
    for picture in (PICTURE, PICTURE.copy(), PICTURE.rotate(180), PICTURE):
        inversion = editor.invert(picture, SOURCE, "paired")
        editor.edit(inversion, TARGETS[0])
    assert seen == ["", "picture", SOURCE, TARGETS[0], "picture", "picture"]


def test_the_last_answers_are_remembered() -> None:
    made: list[int] = []
    recent = Recent(lambda n: made.append(n) or n * n, 2)
    assert [recent(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert made == [1, 2, 3, 2]


def test_the_command_line_shows_it(run: Run, picture: Path, model: str, tmp_path: Path) -> None:
    """In the forwards of targets that are edited one after another."""
    words = ["--source", PROMPT, "--target", TARGET, "--target", "a dog at night"]
    args = ["edit", picture, *words, "--model", model, "--method", "paired", "--json"]
    for more, forwards in (([], [20, 10]), (["--keep", "0"], [20, 20])):
        code, out, err = run(*args, "-o", tmp_path / f"edits{len(more)}", *more)
        assert code == 0, err
        assert [each["forwards"] for each in json.loads(out)["edits"]] == forwards


def test_a_wrong_budget_is_refused(run: Run, picture: Path, tmp_path: Path, one: Editor) -> None:
    """Before a model loads."""
    words = ["--source", PROMPT, "--target", TARGET, "-o", tmp_path / "edit.png"]
    refused(run("edit", picture, *words, "--keep", "-1"), 2, "--keep", "-1")
    with pytest.raises(InputError, match="keep"):
        Editor(one.backbone, keep=-1)
