"""Methods that take attention features from the inversion, against plain loops; and their cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterflow.controls.features import Features
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.errors import InputError
from counterflow.methods import vital
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from oracles_attention import ORACLES
from tools import SCENE, SOURCE, TARGETS, distance, hooks, watched

SEED = 7
MASK = np.zeros((128, 128), bool)
MASK[24:88, 40:104] = True  # of 8 x 8 cells 1 to 5 and 2 to 6: some tokens are masked in part
CASES: list[tuple[str, dict[str, Any], bool, tuple[int, int, int]]] = [
    ("consistedit", {}, False, (6, 10, 5)),
    ("consistedit", {"alpha": 0.5, "threshold": 0.4}, False, (6, 10, 5)),
    ("consistedit", {"alpha": 1.0, "words": ("Dog", "hat")}, False, (6, 10, 5)),
    ("consistedit", {"alpha": 0.4, "guidance": 3.0, "threshold": 0.6}, False, (6, 20, 10)),
    ("consistedit", {"alpha": 0.4}, True, (6, 10, 5)),
    ("consistedit", {"alpha": 0.0, "guidance": 2.0}, True, (6, 20, 10)),
    ("kv-edit", {"skip_steps": 1}, True, (8, 8, 8)),
    ("kv-edit", {"skip_steps": 0, "invert_guidance": 1.0, "guidance": 2.0}, True, (5, 10, 10)),
    ("kv-edit", {"skip_steps": 2, "guidance": 1.0, "re_init": True}, True, (6, 3, 3)),
    ("stable-flow", {}, False, (5, 15, 10)),
    ("stable-flow", {"aligned": True, "nudge": 1.0, "blocks": (1,)}, False, (5, 15, 10)),
    ("stable-flow", {"guidance": 1.0, "blocks": (0, 2)}, False, (5, 10, 5)),
]
"""Settings, whether masked, and forwards: of the inversion, of the first and a further target."""


def made_by(
    editor: Editor, how: Any, masked: bool = False, budget: int | None = None, **options: Any
) -> tuple[Inversion, list[Any]]:
    inversion = editor.invert(render(SCENE), SOURCE, how, seed=SEED)
    if budget is not None:
        inversion.features = Features(budget)
    mask = MASK if masked else None
    return inversion, editor.edit_batch(inversion, TARGETS, mask=mask, seed=SEED, **options)


@pytest.mark.parametrize(
    ("name", "settings", "masked", "cost"), CASES, ids=lambda each: str(each)[:40]
)
def test_it_is_its_loop(
    editor: Editor, name: str, settings: dict[str, Any], masked: bool, cost: tuple[int, int, int]
) -> None:
    """Alone and beside another target, which then costs no source forward; no hook is left."""
    how = method(name, **{"steps": 5} | settings)
    with watched({"network": editor.backbone.transformer}) as calls:
        inversion, together = made_by(editor, how, masked)
        assert [inversion.forwards, *(edit.forwards for edit in together)] == list(cost)
        mask = MASK if masked else None
        alone = editor.edit(inversion, TARGETS[0], mask=mask, seed=SEED)
        assert alone.forwards == cost[2]
        assert sum(len(out[0]) for _, out in calls) == sum(cost) + cost[2]
    levels = editor.backbone.grid(how.steps, (64, 64)).sigmas
    noise = torch.randn(inversion.image.shape, generator=torch.Generator().manual_seed(SEED))
    for n, (target, edit) in enumerate(zip(TARGETS, together, strict=True)):
        start, expected, found = ORACLES[name](
            editor, inversion.image, levels, (SOURCE, target), how, cells(masked), noise
        )
        known = inversion.trajectory
        assert distance(known[known.first], start) <= 2e-5
        assert distance(edit.latent, expected) <= 2e-5 * max(1, expected.abs().max().item())
        if found is not None:
            assert edit.found is not None and 0 < found.mean() < 1
            assert torch.equal(edit.found.flatten(), spread(found, edit.found.shape[-1]))
        if n == 0:
            assert distance(alone.latent, edit.latent) <= 2e-5 * max(1, expected.abs().max().item())
    assert distance(*(edit.latent for edit in together)) > 1e-4
    assert hooks(editor.backbone) == 0


def cells(masked: bool) -> Tensor | None:
    if not masked:
        return None
    return torch.from_numpy(MASK.reshape(8, 16, 8, 16).any((1, 3)))[None, None].float()


def spread(found: Tensor, width: int) -> Tensor:
    """A mask of tokens as its cells."""
    grid = found.reshape(-1, width // 2)
    return torch.kron(grid, torch.ones(2, 2)).flatten()


@pytest.mark.parametrize(
    ("name", "settings", "masked", "costs"),
    [
        ("consistedit", {}, False, (6 + 7 + 10, 5)),
        ("consistedit", {"guidance": 2.0}, True, (7 + 20, 10)),
        ("kv-edit", {"skip_steps": 1}, True, (16, 8)),
        ("stable-flow", {}, False, (15, 10)),
    ],
    ids=str,
)
def test_features_that_were_not_kept_are_made_again(
    one: Editor, name: str, settings: dict[str, Any], masked: bool, costs: tuple[int, int]
) -> None:
    """At the same forwards in every edit; the same pictures, and the same masks."""
    how = method(name, **{"steps": 5} | settings)
    _, usual = made_by(one, how, masked)
    inversion, poor = made_by(one, how, masked, budget=0)
    assert tuple(edit.forwards for edit in poor) == costs
    again = one.edit(inversion, TARGETS[0], mask=MASK if masked else None, seed=SEED)
    looked = how.steps + 1 if name == "consistedit" and not masked else 0
    assert again.forwards == costs[0] - looked and not inversion.features.kept
    for edit, other in zip([*usual, usual[0]], [*poor, again], strict=True):
        assert distance(edit.latent, other.latent) <= 5e-5 * max(1, edit.latent.abs().max().item())
        assert (edit.found is None) == (other.found is None)
        assert edit.found is None or torch.equal(edit.found, other.found)


@pytest.mark.parametrize(("name", "more"), [("consistedit", 6), ("kv-edit", 8), ("stable-flow", 0)])
def test_an_inversion_from_a_file_makes_the_same_edit(
    one: Editor, name: str, more: int, tmp_path: Path
) -> None:
    """For the forwards of what it did not leave, once."""
    how = method(name, steps=5, **{"skip_steps": 1} if name == "kv-edit" else {})
    options = {"mask": MASK if how.needs_mask else None}
    inversion = one.invert(render(SCENE), SOURCE, how)
    one.save(inversion, tmp_path / "a.safetensors")
    loaded = one.open(tmp_path / "a.safetensors")
    a, b = (one.edit(each, TARGETS[0], **options) for each in (inversion, loaded))
    assert distance(a.latent, b.latent) <= 2e-5 and b.forwards - a.forwards == more
    again = [one.edit(each, TARGETS[0], **options).forwards for each in (inversion, loaded)]
    assert again[0] == again[1]


def test_features_may_be_kept_in_part(one: Editor) -> None:
    """A budget that ends in the middle of an evaluation changes nothing, in any edit."""
    for name, settings in (("consistedit", {"guidance": 2.0}), ("kv-edit", {"skip_steps": 1})):
        how = method(name, steps=4, **settings)
        _, usual = made_by(one, how, True)
        size = made_by(one, how, True)[0].features.size
        for share in (0.15, 0.5, 0.8):
            inversion, first = made_by(one, how, True, budget=int(share * size))
            again = one.edit_batch(inversion, TARGETS, mask=MASK, seed=SEED)
            for edit, *others in zip(usual, first, again, strict=True):
                assert max(distance(edit.latent, each.latent) for each in others) <= 2e-5


@pytest.mark.parametrize("name", ["consistedit", "kv-edit", "stable-flow"])
def test_few_rows_at_once_change_nothing(one: Editor, name: str) -> None:
    """Targets that go through the network apart keep their own masks."""
    how = method(name, steps=4, **{"skip_steps": 1} if name == "kv-edit" else {})
    _, usual = made_by(one, how, name == "kv-edit")
    for rows in (1, 2, 3):
        _, made = made_by(Editor(one.backbone, rows), how, name == "kv-edit")
        for edit, other in zip(usual, made, strict=True):
            assert distance(edit.latent, other.latent) <= 2e-5


def test_the_object_of_consistedit_is_named_or_what_changes(one: Editor) -> None:
    """A target that only adds words leaves no object to find: all is edited, none refused."""
    inversion = one.invert(render(SCENE), SOURCE, "consistedit", steps=3)
    named = [one.edit(inversion, TARGETS[1], words=(word,)).found for word in ("dog", "hat")]
    assert all(0 < found.mean() < 1 for found in named) and not torch.equal(*named)
    assert torch.equal(one.edit(inversion, f"{SOURCE} at last").found, torch.ones(1, 1, 8, 8))
    with pytest.raises(InputError, match="does not say 'cat'"):
        one.edit(inversion, TARGETS[0], words=("hat", "cat"))
    free = one.edit(inversion, TARGETS[0], mask=MASK)
    assert free.found is None


def test_another_guidance_of_consistedit_needs_another_inversion(one: Editor) -> None:
    """It would leave other features, which would be taken for these."""
    inversion = one.invert(render(SCENE), SOURCE, "consistedit", steps=3)
    with pytest.raises(InputError, match="invert again"):
        one.edit(inversion, TARGETS[0], guidance=2.0)


def test_stable_flow_takes_known_vital_blocks(one: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the model's name; all where nobody has measured them. One inversion serves both forms."""
    how = method("stable-flow", steps=3)
    inversion = one.invert(render(SCENE), SOURCE, how)
    every = one.edit(inversion, TARGETS[0], blocks=(0, 1, 2))
    assert torch.equal(every.latent, one.edit(inversion, TARGETS[0]).latent)
    forms = [one.edit(inversion, TARGETS[0], aligned=flag).latent for flag in (True, False)]
    assert distance(*forms) > 1e-4 and torch.equal(forms[1], every.latent)
    monkeypatch.setitem(vital.VITAL, "tiny", (2,))
    known = one.edit(inversion, TARGETS[0]).latent
    assert torch.equal(known, one.edit(inversion, TARGETS[0], blocks=(2,)).latent)
    assert distance(known, every.latent) > 1e-4
    with pytest.raises(InputError, match="blocks 0 to 2, not 3"):
        one.edit(inversion, TARGETS[0], blocks=(3,))
    assert vital.vital_blocks("toybox@0123") and vital.vital_blocks("other@0123") is None


@pytest.mark.parametrize("name", ["consistedit", "kv-edit", "stable-flow"])
def test_a_model_without_attention_features_is_refused(
    one: Editor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = [site for site in one.backbone.sites() if site.stream == "text"]
    monkeypatch.setattr(one.backbone, "sites", lambda: text)
    with pytest.raises(InputError, match=f"{name} needs this model's image.*k, image.v"):
        one.invert(render(SCENE), SOURCE, name)


def test_kv_edit_needs_a_mask(one: Editor) -> None:
    inversion = one.invert(render(SCENE), SOURCE, "kv-edit", steps=4, skip_steps=1)
    with pytest.raises(InputError, match="give one"):
        one.edit(inversion, TARGETS[0])
    edit = one.edit(inversion, TARGETS[0], mask=MASK)
    outside = (cells(True) == 0).expand_as(edit.latent)
    assert torch.equal(edit.latent[outside], inversion.image.expand_as(edit.latent)[outside])


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("consistedit", {"words": ("hat",), "threshold": 0.8, "guidance": 2.0, "alpha": 0.8}),
        ("kv-edit", {"skip_steps": 2, "invert_guidance": 3.0, "guidance": 2.0, "re_init": True}),
        ("stable-flow", {"guidance": 1.5, "nudge": 1.0, "blocks": (1,), "aligned": True}),
    ],
)
def test_every_setting_decides(one: Editor, name: str, others: dict[str, Any]) -> None:
    """Another value makes another picture: none is read past."""
    base = method(name, **{"steps": 5} | ({"skip_steps": 1} if name == "kv-edit" else {}))
    assert {each.name for each in base.declared()} == {"steps", *others}
    usual = made_by(one, base, name == "kv-edit")[1][0].latent
    for setting, value in others.items():
        changed = made_by(one, base.but(**{setting: value}), name == "kv-edit")[1][0].latent
        assert distance(changed, usual) > 1e-5, setting
