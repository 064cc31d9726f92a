"""Metrics: pure functions of two pictures and a region.

Pictures are uint8 arrays `[height, width, 3]`, regions bool arrays `[height, width]`. What needs no
weights is here; `lpips`, `structure` and `clip` load theirs, and `table` measures all in a profile.
"""

from counterflow.metrics.pixels import mse, psnr, ssim

__all__ = ["mse", "psnr", "ssim"]
