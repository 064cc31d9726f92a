"""Masks: what is outside, drawn or found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterflow.controls.blend import difference_mask
from counterflow.edit.editor import Editor
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, Meter, inverted


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.01, 0.3, 0.9]))
def test_outside_a_mask_only_the_round_trip_changes_pixels(
    one: Editor, seed: int, share: float
) -> None:
    """And with `exact_background` nothing does; inside, both are the free pixels."""
    mask = np.random.default_rng(seed).random((128, 128)) < share
    inversion = inverted(one, steps=2, iterations=0)
    picture, trip = (np.asarray(p) for p in (inversion.picture, one.round_trip(inversion)))
    masked = one.edit(inversion, TARGETS[0], mask=mask)
    exact = np.asarray(one.edit(inversion, TARGETS[0], mask=mask, exact_background=True).image)
    made = np.asarray(masked.image)
    assert np.array_equal(made[~mask], trip[~mask])
    assert np.array_equal(exact[~mask], picture[~mask])
    assert np.array_equal(exact[mask], made[mask])
    assert not np.array_equal(trip, picture)


@pytest.mark.parametrize("exact", [False, True])
def test_a_mask_holds_over_turns(one: Editor, exact: bool) -> None:
    """In every turn the outside is what it was in the first, to the bit."""
    mask = np.zeros((128, 128), bool)
    mask[:50, 30:90] = True
    inversion = inverted(one, steps=3, iterations=0)
    outside = np.asarray(inversion.picture if exact else one.round_trip(inversion))[~mask]
    for target in (TARGETS[0], TARGETS[1], SOURCE):
        edit = one.edit(inversion, target, mask=mask, exact_background=exact)
        assert np.array_equal(np.asarray(edit.image)[~mask], outside)
        inversion = one.after(inversion, edit)


@pytest.mark.parametrize("size", [(150, 60), (61, 97)], ids=str)
def test_masks_of_any_size(one: Editor, size: tuple[int, int]) -> None:
    """The picture's own pixels outside, whatever size the model works at."""
    picture = render(SCENE).resize(size)
    inversion = one.invert(picture, SOURCE, steps=2, iterations=0)
    mask = np.zeros(size[::-1], bool)
    mask[:20, :20] = True
    made = one.edit(inversion, TARGETS[0], mask=mask, exact_background=True).image
    assert np.array_equal(np.asarray(made)[~mask], np.asarray(picture)[~mask])
    found = one.auto_mask(inversion, TARGETS[0])
    assert found.shape == mask.shape and found.dtype == bool
    one.edit(inversion, TARGETS[0], mask=found)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.9), st.floats(0.1, 10))
def test_the_largest_difference_is_inside(seed: int, share: float, scale: float) -> None:
    """Whatever the scale of any one map; a lower share takes in all that a higher one does."""
    maps = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(seed))
    maps[:, 2:5, 3:6] += 4
    inside = difference_mask(maps, share)
    assert inside[3, 4] and not inside.all()
    assert torch.equal(difference_mask(maps * scale, share), inside)
    wider = difference_mask(maps, share / 2)
    assert bool((wider | ~inside).all())


def test_a_block_of_difference_is_the_mask() -> None:
    """Smoothing takes its corners off above 4 / 9 and widens it below 3 / 9."""
    maps = torch.full((2, 10, 10), 0.01)
    maps[:, 4:7, 4:7] = 1.0
    inside = difference_mask(maps, 0.4)
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[4:7, 4:7] = True
    assert torch.equal(inside, expected)


def test_finding_a_mask_is_counted(one: Editor) -> None:
    """Two forwards for each noise level, of which there are never more than steps."""
    meter = Meter()
    inversion = inverted(one, steps=8, iterations=0)
    one.auto_mask(inversion, TARGETS[0], noise_levels=3, progress=meter)
    assert meter.agrees(3) and meter.labels == {"masking"} and inversion.mask_forwards == 6
    one.auto_mask(inverted(one, steps=1, iterations=0), TARGETS[0])
