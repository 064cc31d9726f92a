"""Pictures that explain a result: what changed, and how it came about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from counterflow import images
from counterflow.app.session import Kept
from counterflow.edit.editor import Editor

VISIBLE = 16
"""Of 255: the least difference of a pixel that counts as a change."""
LONGEST = 512
"""Pixels of an animation's longer side, at most."""
FRAME, HOLD = 180, 1200
"""Milliseconds of a frame of an animation, and of its first and last."""
COLD, HOT = np.array([38, 70, 160.0]), np.array([255, 214, 64.0])


def difference(before: Path, after: Path) -> tuple[Path, float]:
    """How much each pixel changed, from blue to yellow over a pale source; and the share that did.

    The picture is written beside `after`; both are of one size. A pixel that changed by `VISIBLE`
    or more counts.
    """
    old, new = (np.asarray(images.load(each), np.float64) for each in (before, after))
    change: UInt8[np.ndarray, "h w"] = np.abs(old - new).max(-1).astype(np.uint8)
    pale = 255 - (255 - old.mean(-1, keepdims=True)) * 0.35
    part = np.clip(change[..., None] / 128, 0, 1)
    heat = COLD + part * (HOT - COLD)
    strength = np.clip(change[..., None] / VISIBLE, 0, 1) * 0.85
    drawn = pale * (1 - strength) + heat * strength
    file = after.with_name(f"{after.stem}-difference.png")
    Image.fromarray(drawn.astype(np.uint8)).save(file)
    return file, float((change >= VISIBLE).mean())


def animate(editor: Editor, kept: Kept, file: Path) -> None:
    """Write an animated WebP from the source by the clean pictures of each step to the result."""
    before, after = images.load(kept.source_file), images.load(kept.file)
    assert kept.path is not None, "only a result that has its path is animated"
    size = _shown(before.size)
    device = editor.backbone.device
    steps = [
        editor.picture(latent[None].float().to(device), before.size) for latent in kept.path[:-1]
    ]
    frames = [images.resize(each, size) for each in (before, *steps, after)]
    times = [HOLD, *[FRAME] * len(steps), HOLD]
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=90
    )


def _shown(size: tuple[int, int]) -> tuple[int, int]:
    """A size with the same sides' ratio, not longer than `LONGEST`; a small one is enlarged."""
    scale = LONGEST / max(size)
    scale = scale if scale < 1 else int(scale)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
