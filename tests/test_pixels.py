"""PSNR, MSE and SSIM against other libraries and hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis.extra.numpy import arrays
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr

from counterflow.metrics import lpips, mse, psnr, ssim
from counterflow.metrics.table import measure
from metric_networks import (
    as_tensor,
    noise,
    torch_ssim,
)

pictures = arrays(np.uint8, (17, 21, 3))
masks = arrays(bool, (17, 21))
small = arrays(np.uint8, (6, 5, 3))
# Shrinking such arrays takes minutes and shows nothing.
quick = settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])


def scikit_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """scikit-image's map, of the windows that lie within the pictures."""
    how = {"gaussian_weights": True, "use_sample_covariance": False, "full": True}
    return structural_similarity(a / 255, b / 255, channel_axis=2, data_range=1.0, **how)[1][
        5:-5, 5:-5
    ]


@quick
@given(pictures, pictures)
def test_ssim_against_two_libraries(a: np.ndarray, b: np.ndarray) -> None:
    assert ssim(a, b) == pytest.approx(scikit_ssim(a, b).mean(), abs=1e-9)
    x, y = (as_tensor(picture).double() for picture in (a, b))
    assert ssim(a, b) == pytest.approx(torch_ssim(x, y).item(), abs=1e-6)


@quick
@given(pictures, pictures, masks)
def test_pixel_metrics_of_a_region(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> None:
    """Equal to other libraries' of the chosen pixels, or windows, alone."""
    where[6, 6] = True
    squared = mean_squared_error(a[where] / 255, b[where] / 255)
    assert mse(a, b, where) == pytest.approx(squared)
    if squared:
        theirs = peak_signal_noise_ratio(a[where], b[where], data_range=255)
        assert psnr(a, b, where) == pytest.approx(theirs)
    windows = scikit_ssim(a, b)[where[5:-5, 5:-5]]
    assert ssim(a, b, where) == pytest.approx(windows.mean(), abs=1e-9)


@quick
@given(pictures, pictures, masks)
def test_pixel_metrics_are_symmetric_and_bounded(
    a: np.ndarray, b: np.ndarray, where: np.ndarray
) -> None:
    for metric in (mse, psnr, ssim):
        assert metric(a, b, where) == pytest.approx(metric(b, a, where))
    assert mse(a, a) == 0 and psnr(a, a) == math.inf and ssim(a, a) == pytest.approx(1)
    assert -1 <= (ssim(a, b) or 0) <= 1 and 0 <= (mse(a, b) or 0) <= 1


def test_ssim_of_a_region_sees_no_further_than_a_window() -> None:
    a = noise(40, 60)
    b = a.copy()
    b[:, 40:] = noise(40, 20, seed=1)
    left = np.zeros((40, 60), bool)
    left[:, :35] = True
    assert ssim(a, b, left) == pytest.approx(1, abs=1e-12)
    left[:, 35] = True
    assert ssim(a, b, left) < 1 - 1e-6  # type: ignore[operator]
    edge = np.zeros((40, 60), bool)
    edge[:5] = True
    assert ssim(a, b, edge) is None  # no window has its middle there
    assert ssim(a[:10], b[:10]) is None  # smaller than a window


def test_a_hand_computed_mask() -> None:
    """Two pixels of four lie outside the mask; one differs by 51 of 255 in every channel."""
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0], b[1] = 51, 255
    mask = np.array([[False, False], [True, True]])
    corrected, compat = measure(a, b, mask), measure(a, b, mask, "pie-compat")
    assert corrected["MSE"] == pytest.approx(0.02)
    assert corrected["PSNR"] == pytest.approx(10 * math.log10(50))
    assert compat["MSE"] == pytest.approx(0.01)
    assert compat["PSNR"] == pytest.approx(20)


def test_arrays_that_do_not_fit_are_refused() -> None:
    a, region = noise(12, 14), np.ones((12, 14), bool)
    for metric in (mse, psnr, ssim, lpips.LPIPS().distance):
        with pytest.raises(ValueError, match="14×12 and 12×14"):
            metric(a, a.swapaxes(0, 1))
        with pytest.raises(ValueError, match=r"bool array \[12, 14\]"):
            metric(a, a, region.T)
        # A TypeError from the annotations, where pytest checks them.
        with pytest.raises((ValueError, TypeError)):
            metric(a / 255, a / 255)
        with pytest.raises((ValueError, TypeError)):
            metric(a[..., 0], a[..., 0])
    with pytest.raises(ValueError, match="14×12 and 12×14"):
        measure(a, a.swapaxes(0, 1), region)
    with pytest.raises(ValueError, match="profile is one of"):
        measure(a, a, region, "other")


@quick
@given(small, small)
def test_psnr_and_mse_against_two_libraries(a: np.ndarray, b: np.ndarray) -> None:
    """Whole pictures: scikit-image and torchmetrics say the same."""
    assert mse(a, b) == pytest.approx(mean_squared_error(a / 255, b / 255))
    if (a == b).all():
        assert psnr(a, b) == math.inf
        return
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255))
    theirs = torch_psnr(torch.tensor(a).double(), torch.tensor(b).double(), data_range=255.0)
    # torchmetrics takes the logarithm in single precision: of 0 dB no share is meant.
    assert psnr(a, b) == pytest.approx(theirs.item(), rel=1e-4, abs=1e-5)


@quick
@given(small, small, arrays(bool, (6, 5)))
def test_masked_metrics_see_only_the_mask(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> None:
    """Equal to the metric of the chosen pixels alone; nothing chosen is no value."""
    if not mask.any():
        assert mse(a, b, mask) is None and psnr(a, b, mask) is None
        return
    assert mse(a, b, mask) == pytest.approx(mean_squared_error(a[mask] / 255, b[mask] / 255))
    outside = np.where(mask[..., None], b, 255 - b)
    assert mse(a, outside, mask) == mse(a, b, mask)
