"""Blocks that decide most of a picture (Stable Flow, arXiv 2411.14430), of models where known.

`counterflow vital-blocks` measures them. The bundled model's are of a run with `--prompts 16`, by
SSIM: block 0 0.79, the others 0.42 to 0.48. FLUX.1-dev's published ones are 0, 1, 17, 18 of its
double and 6, 9, 34, 35, 37 of its single blocks: 0, 1, 17, 18, 25, 28, 53, 54, 56 of all.
"""

from __future__ import annotations

VITAL: dict[str, tuple[int, ...]] = {"toybox": (0,)}
"""By the name in `Backbone.identity`."""


def vital_blocks(identity: str) -> tuple[int, ...] | None:
    """The vital blocks of a model; None, for all, where nobody has measured them."""
    return VITAL.get(identity.partition("@")[0])
