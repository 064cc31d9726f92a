"""Masks that methods find themselves: what an edit tells of them, and the rules that make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import oracles_masks
from counterflow.bench.engine import Attempt, Engine, condition, overlap
from counterflow.bench.sets.cases import rendered
from counterflow.bench.sets.toypie import scene_edits
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.methods import base, fusionedit
from counterflow.methods.masks import between, closed, dilated, eroded, scaled
from counterflow.methods.registry import METHODS, method
from counterflow.toybox.render import render
from tools import FEW, SCENE, SOURCE, TARGETS, Meter, distance, running

STEPS = 4
FINDING = {
    "uniedit": 2,
    "steerflow": STEPS,
    "decflowedit": 1,
    "decflowedit-short": 1,
    "fusionedit": 1,
    "consistedit": 1,
    "paired": 1,
    "paired-short": 1,
}
"""How often a method finds a mask in 4 steps."""


@pytest.mark.parametrize("name", METHODS)
def test_an_edit_tells_the_mask_that_its_method_found(one: Editor, name: str) -> None:
    """The mean over its steps, of each target its own; None where a method finds none."""
    how = method(name, **{"steps": STEPS} | FEW.get(name, {}))
    if how.needs_mask:
        pytest.skip("it is given one")
    inversion = one.invert(render(SCENE), SOURCE, how)
    together = one.edit_batch(inversion, TARGETS, seed=3)
    run = running(one, inversion, how, TARGETS, seed=3)
    base.edit(how, run, inversion.trajectory)
    assert len(run.found) == FINDING.get(name, 0)
    if name not in FINDING:
        assert [edit.found for edit in together] == [None, None]
        return
    cells = inversion.image.shape[2:]
    for each in run.found:
        assert each.shape == (2, 1, *cells) and 0 <= each.min() <= each.max() <= 1
    for n, edit in enumerate(together):
        assert edit.found is not None and edit.found.shape == (1, 1, *cells)
        mean = sum(each[n] for each in run.found) / len(run.found)
        assert distance(edit.found[0], mean) <= 1e-4


@pytest.mark.parametrize("settings", [{}, {"first_share": 0.5, "window": 0.5}], ids=str)
def test_decflowedits_mask_is_that_of_its_first_edit(
    editor: Editor, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the second edit's guidance; both edits' steps are counted as they are made."""
    masks = []
    held = oracles_masks.held
    monkeypatch.setattr(
        oracles_masks, "held", lambda *args, **more: masks.append(args[6]) or held(*args, **more)
    )
    how = method("decflowedit", steps=6, n_max=5, **settings)
    inversion, meter = editor.invert(render(SCENE), SOURCE, how), Meter()
    got = editor.edit(inversion, TARGETS[0], seed=7, progress=meter).found
    levels = editor.backbone.grid(6, (64, 64)).sigmas
    made = (editor, inversion.image, levels, (SOURCE, TARGETS[0]), how, 7)
    oracles_masks.decflowedit(*made)
    assert got is not None and distance(got[0, 0], masks[0]) <= 1e-4
    assert got.min() >= 0.001 and got.max() <= 0.997 and got.std() > 0.01
    assert meter.agrees(5 + how.unguided.n_max)  # type: ignore[attr-defined]
    fresh = editor.invert(render(SCENE), SOURCE, how)
    other = editor.edit(fresh, TARGETS[0], seed=7, guidance=2.0).found
    assert other is not None and torch.equal(other, got)


def test_decflowedits_schedules() -> None:
    """The recorded windows of SD3 and FLUX, the short form's steps, and what has no step left."""
    for settings, made, first, last in (
        ({}, (50, 33), 12, 38),
        ({"steps": 28, "n_max": 24}, (28, 24), 7, 21),
        ({"first_share": 0.25}, (12, 8), 3, 9),
        ({"first_share": 0.25, "steps": 28, "n_max": 24}, (7, 6), 1, 6),
        ({"steps": 1}, (1, 1), 0, 0),
    ):
        how: Any = method("decflowedit", **settings)
        assert (how.unguided.steps, how.unguided.n_max) == made
        assert [k for k in range(made[0]) if how.summed(k)] == list(range(first, last + 1))
    assert method("decflowedit-short") == method("decflowedit", first_share=0.25)
    method("decflowedit", n_max=12)
    for settings in ({"n_max": 11}, {"window": 0.2}):
        with pytest.raises(InputError, match="no step is made within"):
            method("decflowedit", **settings)


@pytest.mark.parametrize("step", [0, 1, 9])
def test_fusionedits_heat_maps_have_one_level(
    one: Editor, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a step, or of the last one where there are fewer."""
    how = method("fusionedit", steps=3, maps=4, map_step=step, n_max=1)
    inversion, told, own = one.invert(render(SCENE), SOURCE, how), [], one.backbone.velocity
    monkeypatch.setattr(
        one.backbone, "velocity", lambda x, s, c: told.append((s, len(x))) or own(x, s, c)
    )
    one.edit(inversion, TARGETS[0])
    levels = one.backbone.grid(3, (64, 64)).sigmas
    assert told == [(levels[min(step, 2)], 4)] * 4 + [(levels[2], 4)]


@pytest.mark.parametrize("settings", [{}, {"n_avg": 2}, {"n_min": 1}], ids=str)
def test_fusionedit_sets_back_outside_its_mask(
    editor: Editor, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each step but not after the last: with a mask of half the picture."""
    half = np.repeat([[1.0, 1, 0, 0]], 4, 0)
    monkeypatch.setattr(fusionedit, "region", lambda heat: torch.tensor(half).float()[None, None])
    monkeypatch.setattr(oracles_masks, "grown", lambda heat: half)
    how = method("fusionedit", steps=5, maps=1, **settings)
    inversion = editor.invert(render(SCENE), SOURCE, how)
    got = editor.edit(inversion, TARGETS[0], seed=7)
    levels = editor.backbone.grid(5, (64, 64)).sigmas
    made = (editor, inversion.image, levels, (SOURCE, TARGETS[0]), how, 7)
    assert distance(got.latent, oracles_masks.fusionedit(*made)[1]) <= 2e-5
    assert distance(got.latent[..., 4:], inversion.image[..., 4:]) > 1e-4, "the last step leaks"


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (16, 9), (32, 32)], ids=str)
def test_regions_need_not_grow(size: tuple[int, int]) -> None:
    """The short rule is the published one, regions grown cell by cell; each of a batch alone."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(20, 1, 3, 3, generator=generator)
    heat = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    heat += 0.1 * torch.randn(heat.shape, generator=generator)
    got = fusionedit.region(heat)
    for each, mask in zip(heat[:, 0].numpy(), got[:, 0].numpy(), strict=True):
        assert np.array_equal(mask, oracles_masks.grown(each))
    assert 0 < got.mean() < 1


def test_a_region_of_a_flat_map_is_nothing() -> None:
    """And where no cell stands out by half a deviation, the highest ones count."""
    assert not fusionedit.region(torch.ones(1, 1, 8, 8)).any()
    high = torch.ones(1, 1, 16, 16)
    high[..., :4, 0] = 0
    assert np.array_equal(fusionedit.region(high)[0, 0], oracles_masks.grown(high[0, 0].numpy()))
    assert fusionedit.region(high).any()
    assert fusionedit.region(torch.rand(1, 1, 1, 9)).shape == (1, 1, 1, 9)


def test_maps_are_scaled_each_by_itself() -> None:
    maps = torch.rand(3, 1, 5, 7) * torch.tensor([1.0, 10, 100]).reshape(3, 1, 1, 1) - 4
    for each in (scaled(maps, 1e-8), between(maps, 0, 1)):
        assert each.amin((1, 2, 3)).tolist() == [0, 0, 0]
        assert torch.allclose(each.amax((1, 2, 3)), torch.ones(3))
    inner = between(maps, 0.25, 0.75)
    assert (inner < 0).float().mean((1, 2, 3)).tolist() == pytest.approx([9 / 35] * 3)
    assert torch.isfinite(scaled(torch.ones(1, 1, 2, 2), 1e-8)).all()


def test_morphology_ends_at_the_border() -> None:
    one = torch.zeros(1, 1, 5, 5)
    one[..., 0, 0] = one[..., 0, 2] = 1
    assert dilated(one)[0, 0].sum() == 8 and not eroded(one).any()
    assert torch.equal(closed(one)[0, 0, 0], torch.tensor([1.0, 1, 1, 0, 0]))
    assert torch.equal(eroded(torch.ones(1, 1, 3, 3)), torch.ones(1, 1, 3, 3))


def boxed(rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., rows, columns] = 1
    return mask


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (boxed(slice(0, 4), slice(0, 4)), 1),
        (boxed(slice(0, 4), slice(0, 4)) * 0.5, 1),
        (boxed(slice(0, 4), slice(0, 4)) * 0.49, 0),
        (boxed(slice(0, 4), slice(2, 6)), 8 / 24),
        (boxed(slice(4, 8), slice(4, 8)), 0),
        (boxed(slice(0, 2), slice(0, 4)), 0.5),
        (torch.ones(1, 1, 8, 8), 16 / 64),
        (torch.zeros(1, 1, 8, 8), 0),
    ],
    ids=lambda each: None,
)
def test_the_overlap_of_masks(found: Tensor, expected: float) -> None:
    """In latent cells, any pixel of which is enough for the true mask."""
    true = np.zeros((64, 64), bool)
    true[:32, :32] = True
    assert overlap(found, true) == pytest.approx(expected)
    corner = np.zeros((64, 64), bool)
    corner[0, 0] = corner[31, 31] = corner[0, 31] = corner[31, 0] = True
    assert overlap(boxed(slice(0, 1), slice(0, 1)), corner) == pytest.approx(1 / 4)
    assert overlap(torch.zeros(1, 1, 8, 8), np.zeros((64, 64), bool)) == 0


def test_a_benchmark_measures_found_masks(one: Editor) -> None:
    """Of methods that find one, where the true one is known."""
    case = rendered(scene_edits(1, 40)[0])
    how = condition("uniedit", steps=3)
    (outcome,) = Engine(one).run((Attempt(case, how),))
    inversion = one.invert(case.picture(), case.source, how.method)
    edit = one.edit(inversion, case.target)
    assert edit.found is not None and case.mask is not None
    assert outcome.figures["mask IoU"] == pytest.approx(overlap(edit.found, case.mask), abs=0.1)
    (other,) = Engine(one).run((Attempt(case, condition("flowedit", steps=2)),))
    assert "mask IoU" not in other.figures
