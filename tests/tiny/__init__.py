"""A tiny pipeline of random weights for each family, and how its own call is asked for latents.

A file for each family, with its entries of `TINY`.
"""

from __future__ import annotations

from tiny import aura_flow, flux, flux2, qwen_image, sd3, z_image
from tiny.parts import Tiny

TINY: dict[str, Tiny] = (
    sd3.TINY | flux.TINY | flux2.TINY | z_image.TINY | qwen_image.TINY | aura_flow.TINY
)
