"""Masks grown and feathered, against scipy and scikit-image, and what a soft mask means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from skimage.morphology import dilation, disk

from counterflow.edit import pictures
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.masks import feather, grow
from counterflow.errors import InputError
from image_files import picture, quick
from tools import TARGETS, inverted

sides = st.integers(1, 40)


def spots(height: int, width: int, seed: int, count: int = 3) -> np.ndarray:
    """A mask of a few single pixels."""
    mask = np.zeros((height, width), bool)
    rng = np.random.default_rng(seed)
    mask[rng.integers(0, height, count), rng.integers(0, width, count)] = True
    return mask


@quick
@given(sides, sides, st.integers(0, 999), st.integers(0, 50))
def test_growing_is_dilation_by_a_disk(height: int, width: int, seed: int, pixels: int) -> None:
    mask = spots(height, width, seed)
    expected = dilation(np.pad(mask, pixels), disk(pixels))  # its border is no end of the picture
    inner = (slice(pixels, pixels + height), slice(pixels, pixels + width))
    assert np.array_equal(grow(mask, pixels), expected[inner])


@quick
@given(sides, sides, st.integers(0, 999), st.integers(0, 50))
def test_feathering_falls_with_the_distance(
    height: int, width: int, seed: int, pixels: int
) -> None:
    mask = spots(height, width, seed)
    expected = np.clip(1 - distance_transform_edt(~mask) / (pixels + 1), 0, 1)
    soft = feather(mask, pixels)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, expected, atol=1e-6)
    assert (soft[mask] == 1).all()
    if pixels == 0:
        assert np.array_equal(soft, mask)


def test_an_empty_mask_stays_empty_and_a_full_one_full() -> None:
    none = np.zeros((5, 7), bool)
    assert not grow(none, 30).any() and not feather(none, 30).any()
    assert grow(~none, 2).all() and (feather(~none, 2) == 1).all()


@pytest.mark.parametrize("pixels", [-1, 1001, True])
def test_other_distances_are_refused(pixels: int) -> None:
    mask = spots(8, 8, 0)
    with pytest.raises(InputError, match="grow is a whole number from 0 to 1000"):
        grow(mask, pixels)
    with pytest.raises(InputError, match="feather is a whole number from 0 to 1000"):
        feather(mask, pixels)


@pytest.fixture(scope="module")
def inversion(one: Editor) -> Inversion:
    return inverted(one, steps=2, iterations=0)


def test_a_soft_mask_mixes_pixels_and_frees_latents(one: Editor, inversion: Inversion) -> None:
    """The edit is that under all that is above 0; then it is laid over the picture once."""
    hard = np.zeros((128, 128), bool)
    hard[40:70, 30:90] = True
    soft = feather(hard, 9)
    made = one.edit(inversion, TARGETS[0], mask=soft, exact_background=True)
    free = one.edit(inversion, TARGETS[0], mask=soft > 0, exact_background=True)
    assert torch.equal(made.latent, free.latent)
    under, over, mixed = (np.asarray(p, float) for p in (inversion.picture, free.image, made.image))
    share = soft[..., None]
    assert np.abs(mixed - (share * over + (1 - share) * under)).max() <= 1.01
    assert np.array_equal(mixed[soft == 0], under[soft == 0])
    assert np.array_equal(mixed[hard], over[hard])
    band = (soft > 0) & (soft < 1)
    assert np.abs(mixed - over)[band].max() > 5 and np.abs(mixed - under)[band].max() > 5


def test_a_soft_mask_of_0_and_1_is_a_hard_one(one: Editor, inversion: Inversion) -> None:
    hard = spots(128, 128, 1, 40)
    pair = [one.edit(inversion, TARGETS[0], mask=m) for m in (hard, hard.astype(np.float32))]
    assert np.array_equal(*(np.asarray(each.image) for each in pair))


def test_values_beyond_a_mask_are_refused(one: Editor, inversion: Inversion) -> None:
    for value in (-0.1, 1.5, np.nan):
        mask = np.full((128, 128), value)
        with pytest.raises(InputError, match="from 0 to 1"):
            one.edit(inversion, TARGETS[0], mask=mask)
    with pytest.raises(InputError, match="at the picture's size"):
        one.edit(inversion, TARGETS[0], mask=np.ones((64, 64), bool))


def test_whole_numbers_are_a_hard_mask() -> None:
    mask = pictures.checked(np.array([[0, 255], [1, 0]], np.uint8), (2, 2))
    assert mask.dtype == bool and mask.tolist() == [[False, True], [True, False]]
    one, other = picture(2, 2, 1), picture(2, 2, 2)
    mixed = np.asarray(pictures.composite(one, other, mask))
    assert np.array_equal(mixed[mask], np.asarray(one)[mask])
    assert np.array_equal(mixed[~mask], np.asarray(other)[~mask])
