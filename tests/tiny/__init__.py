"""A tiny pipeline of random weights for each family, and how its own call is asked for latents.

A file for each family, with its entries of `TINY`.
"""

from __future__ import annotations

from tiny import aura_flow, ernie_image, flux, flux2, krea2, qwen_image, qwen_image21, sd3, z_image
from tiny.parts import Tiny

FAMILIES = (sd3, flux, flux2, z_image, qwen_image, qwen_image21, aura_flow, krea2, ernie_image)

TINY: dict[str, Tiny] = {}
for family in FAMILIES:
    TINY |= family.TINY
