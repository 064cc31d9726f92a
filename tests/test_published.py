"""The published methods against plain loops, one target and two together, and their cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from oracles_masks import ORACLES as MASKED
from oracles_more import ORACLES as OTHERS
from tools import SCENE, SOURCE, TARGETS, distance, hooks, watched

SEED = 7
ORACLES = OTHERS | MASKED
CASES: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("sdedit", {"n_start": 3}, (0, 6, 6)),
    ("sdedit", {"n_start": 9, "guidance": 1.0}, (0, 5, 5)),
    ("rf-inversion", {}, (5, 10, 10)),
    ("rf-inversion", {"gamma": 0.3, "eta": 0.6, "eta_ratio": (0.2, 0.8), "guidance": 1}, (5, 5, 5)),
    ("rf-solver", {}, (10, 20, 20)),
    ("rf-solver", {"inject": 9, "late": 0.7, "guidance": 1.0}, (10, 10, 10)),
    ("fireflow", {}, (6, 12, 12)),
    ("fireflow", {"inject": 3, "late": 1.0, "guidance": 1.0}, (6, 6, 6)),
    ("pmi", {}, (6, 12, 12)),
    ("pmi", {"w": 0.6, "mimic": "paper", "size": 5, "inject": 0, "guidance": 1.0}, (6, 6, 6)),
    ("pmi", {"mimic": "off", "inject": 3, "late": 1.0}, (6, 12, 12)),
    ("pmi-euler", {"w": 0.6}, (5, 10, 10)),
    ("pmi-euler", {"w": 0.6, "mimic": "paper", "inject": 4, "guidance": 1.0}, (5, 5, 5)),
    ("prompt-swap", {}, (0, 10, 10)),
    ("uniedit", {}, (4, 6, 6)),
    (
        "uniedit",
        {"alpha": 0.8, "omega": 2.0, "guidance": 2.0, "zero_start": True, "signed": False},
        (4, 16, 16),
    ),
    ("flowalign", {}, (0, 15, 10)),
    ("flowalign", {"guidance": 4.0, "weight": 0.2}, (0, 15, 10)),
    ("dnaedit", {"skip_steps": 1}, (4, 8, 8)),
    (
        "dnaedit",
        {"skip_steps": 0, "source_guidance": 2.0, "guidance": 1.0, "eta": 0.5},
        (10, 5, 5),
    ),
    ("steerflow", {}, (6, 10, 10)),
    (
        "steerflow",
        {"guidance": 2.0, "alpha": 1.5, "sharpness": 4.0, "quantile": 0.8, "closing": 3},
        (6, 10, 10),
    ),
    ("chordedit", {"steps": 1}, (0, 5, 3)),
    (
        "chordedit",
        {
            "steps": 1,
            "n_avg": 2,
            "guidance": 2.0,
            "last_sigma": 0,
            "sigma": 0.6,
            "delta": 0.8,
            "strength": 0.7,
        },
        (0, 16, 8),
    ),
    ("chordedit", {"steps": 1, "sigma": 0.2, "delta": 0.1999}, (0, 5, 3)),
    ("dvrf", {}, (0, 20, 10)),
    ("decflowedit", {"n_max": 3, "guidance": 5.5, "softness": 0.3}, (0, 18, 9)),
    (
        "decflowedit",
        {"first_share": 0.5, "reseed": True, "n_avg": 2, "guidance": 5.5, "softness": 0.3},
        (0, 44, 22),
    ),
    (
        "decflowedit",
        {"window": 0.4, "threshold": 0.3, "softness": 0.4, "n_min": 2, "fixed_noise": True}
        | {"guidance": 5.5},
        (0, 26, 15),
    ),
    ("fusionedit", {"n_max": 3}, (0, 52, 26)),
    ("fusionedit", {"maps": 2, "map_step": 1, "n_min": 2, "guidance": 1.0}, (0, 19, 9)),
    ("dvrf", {"n_avg": 2, "source_guidance": 1.0, "guidance": 5.0, "drift": 0.4}, (0, 30, 20)),
]
"""Settings, and the forwards of the inversion, of the first target and of each further one."""


@pytest.mark.parametrize(("name", "settings", "cost"), CASES, ids=lambda each: str(each)[:40])
def test_a_published_method_is_its_loop(
    editor: Editor, name: str, settings: dict[str, Any], cost: tuple[int, int, int]
) -> None:
    """Alone and beside another target; forwards are what the network saw, and no more."""
    how = method(name, **{"steps": 5} | settings)
    network = {"network": editor.backbone.transformer}
    with watched(network) as calls:
        inversion = editor.invert(render(SCENE), SOURCE, how, seed=SEED)
        assert _rows(calls) == inversion.forwards == cost[0]
        together = editor.edit_batch(inversion, TARGETS, seed=SEED)
        assert [edit.forwards for edit in together] == list(cost[1:])
        assert _rows(calls) == sum(cost)
        fresh = editor.invert(render(SCENE), SOURCE, how, seed=SEED)
        alone = editor.edit(fresh, TARGETS[0], seed=SEED)
        assert alone.forwards == cost[1]
        assert _rows(calls) == sum(cost) + cost[0] + cost[1]
    levels = editor.backbone.grid(how.steps, (64, 64)).sigmas
    for target, edit in zip(TARGETS, together, strict=True):
        made = (editor, inversion.image, levels, (SOURCE, target), how, SEED)
        start, expected = ORACLES[name](*made)
        if inversion.trajectory is not None:
            known = inversion.trajectory
            assert distance(known[known.first], start) <= 2e-5
        assert distance(edit.latent, expected) <= 2e-5 * max(1, expected.abs().max().item())
        if target == TARGETS[0]:
            assert distance(alone.latent, edit.latent) <= 2e-5 * max(1, expected.abs().max().item())
    assert distance(*(edit.latent for edit in together)) > 1e-4
    assert hooks(editor.backbone) == 0


@pytest.mark.parametrize("name", ["uniedit", "rf-inversion"])
def test_a_null_inversion_knows_no_negative_prompt(one: Editor, name: str) -> None:
    """As the published code has it: what guidance leads away from only matters to guidance."""
    plain, other = (Editor(one.backbone, negative=text) for text in ("", "a striped dog"))
    for guidance, alike in ((1.0, True), (3.0, False)):
        how = method(name, steps=3, guidance=guidance)
        inversions = [editor.invert(render(SCENE), SOURCE, how) for editor in (plain, other)]
        known = [each.trajectory for each in inversions]
        assert known[0] is not None and known[1] is not None
        assert all(map(torch.equal, known[0].latents, known[1].latents))
        rebuilt = [e.reconstruct(i, False) for e, i in zip((plain, other), inversions, strict=True)]
        assert torch.equal(*(each.latent for each in rebuilt))
        edits = [e.edit(i, TARGETS[0]) for e, i in zip((plain, other), inversions, strict=True)]
        assert (distance(*(each.latent for each in edits)) <= 1e-6) == alike


def test_steerflow_closes_by_an_odd_number() -> None:
    """An even one has no middle."""
    with pytest.raises(InputError, match="closing is an odd number, not 4"):
        method("steerflow", closing=4)


def _rows(calls: list[tuple[str, Any]]) -> int:
    """Samples that went through the network."""
    return sum(len(out[0]) for _, out in calls)


@pytest.mark.parametrize("name", ORACLES)
def test_every_setting_of_a_published_method_decides(one: Editor, name: str) -> None:
    """Another value makes another picture: none is read past."""
    others: dict[str, Any] = {
        "n_start": 2,
        "guidance": 1.5,
        "gamma": 0.2,
        "eta": 0.3,
        "eta_ratio": 0.8,
        "inject": 0,
        "late": 1.0,
        "alpha": 0.4,
        "omega": 1.0,
        "zero_start": True,
        "signed": False,
        "weight": 0.1,
        "skip_steps": 2,
        "source_guidance": 2.0,
        "sharpness": 3.0,
        "quantile": 0.7,
        "closing": 1,
        "sigma": 0.7,
        "delta": 0.3,
        "strength": 0.5,
        "last_sigma": 0.0,
        "n_avg": 2,
        "drift": 0.0,
        "n_max": 3,
        "n_min": 1,
        "fixed_noise": True,
        "first_share": 0.5,
        "window": (0.0, 0.4),
        "threshold": 0.3,
        "softness": 0.3,
        "reseed": True,
        "maps": 2,
        "map_step": 1,
        "base": "fireflow" if name == "pmi-euler" else "euler",
        "size": 0,
        "mimic": "paper",
        "w": 0.5,
    }
    few = {"chordedit": {"steps": 1}, "dnaedit": {"steps": 5, "skip_steps": 1}}
    base = method(name, **few.get(name, {"steps": 5}))

    def made(how: Any) -> torch.Tensor:
        inversion = one.invert(render(SCENE), SOURCE, how, seed=SEED)
        return one.edit(inversion, TARGETS[0], seed=SEED).latent

    usual = made(base)
    for each in base.declared():
        if each.name not in ("steps", "map_step"):  # in `test_found` that one
            changed = made(base.but(**{each.name: others[each.name]}))
            assert distance(changed, usual) > 1e-5, each.name
