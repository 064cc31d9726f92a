"""A tiny pipeline of random weights for each family, and how its own call is asked for latents.

A file for each family, with its entries of `TINY`.
"""

from __future__ import annotations

from tiny import (
    bria_fibo,
    flux,
    hidream,
    hunyuan_image,
    longcat_image,
    lumina2,
    ovis_image,
    prx,
    qwen_image,
    sana,
    sd3,
    z_image,
)
from tiny.parts import Tiny

FAMILIES = (
    sd3,
    flux,
    z_image,
    qwen_image,
    longcat_image,
    ovis_image,
    hunyuan_image,
    lumina2,
    sana,
    hidream,
    bria_fibo,
    prx,
)
TINY: dict[str, Tiny] = {name: tiny for family in FAMILIES for name, tiny in family.TINY.items()}
