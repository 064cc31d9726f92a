"""Metrics: pure functions of two pictures and a region.

Pictures are uint8 arrays `[height, width, 3]`, regions bool arrays `[height, width]`. The metrics
without weights are imported here; `lpips`, `structure` and `clip` load weights; `table` measures
all of them.
"""

from counterflow.metrics.pixels import mse, psnr, ssim

__all__ = ["mse", "psnr", "ssim"]
