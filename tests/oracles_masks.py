"""Methods that find a mask first, as plain loops; their masks cell by cell in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterflow.edit.editor import Editor
from oracles import velocity
from oracles_more import Made, Prompts, draws


def squares(a: np.ndarray, r: int) -> np.ndarray:
    """The square around each cell as a row, NaN beyond the border."""
    padded = np.pad(a.astype(float), r, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * r + 1,) * 2)
    return windows.reshape(*a.shape, -1)


def decflowedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    """The first edit averages over no noises; beyond the border are zeros that count."""
    n, draw = len(s) - 1, draws(image, seed)
    count = max(1, math.floor(how.first_share * n))
    levels = editor.backbone.grid(count, (64, 64)).sigmas
    made = round(min(how.n_max, n) * count / n)
    low, high = how.window if isinstance(how.window, tuple) else (0, how.window)
    x, total, noise = image, torch.zeros_like(image), None
    for k in range(count - made, count):
        noise = draw() if noise is None or not how.fixed_noise else noise
        z = (1 - levels[k]) * image + levels[k] * noise
        v_t = velocity(editor, x + z - image, levels[k], prompts[1], 1)
        change = v_t - velocity(editor, z, levels[k], prompts[0], 1)
        x = x + (levels[k + 1] - levels[k]) * change
        if math.floor(low * count) <= k <= math.ceil(high * count):
            total = total + change
    smooth = np.nansum(squares(total[0].square().sum(0).sqrt().numpy(), 2), -1) / 25
    low, high = np.quantile(smooth, 0.1), np.quantile(smooth, 0.9)
    level = np.clip((smooth - low) / max(high - low, 1e-8), 0, 1)
    mask = torch.from_numpy(1 / (1 + np.exp(-(level - how.threshold) / how.softness))).float()
    draw = draws(image, seed) if how.reseed else draw
    return image, held(editor, image, s, prompts, how, draw, mask, reset=False)


def held(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: Prompts,
    how: Any,
    draw: Callable[[], Tensor],
    mask: Tensor,
    reset: bool,
) -> Tensor:
    """FlowEdit whose steps are masked, or whose latents are `reset` outside before each."""
    n, x, noises = len(s) - 1, image, []
    sampling = False
    for k in range(max(0, n - how.n_max), n):
        if not noises or not (how.fixed_noise or sampling):
            noises = [draw() for _ in range(how.n_avg)]
        if n - k <= how.n_min:
            if not sampling:
                x = x + s[k] * (noises[0] - image)
            sampling = True
            x = x + (s[k + 1] - s[k]) * velocity(editor, x, s[k], prompts[1], how.guidance)
            continue
        change = torch.zeros_like(x)
        for noise in noises:
            z = (1 - s[k]) * image + s[k] * noise
            v_t = velocity(editor, x + z - image, s[k], prompts[1], how.guidance)
            v_s = velocity(editor, z, s[k], prompts[0], how.source_guidance)
            change = change + (v_t - v_s) / how.n_avg
        before = mask * x + (1 - mask) * image if reset else x
        x = before + (s[k + 1] - s[k]) * change * (1 if reset else mask)
    return x


def fusionedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    n, draw = len(s) - 1, draws(image, seed)
    level, rows, columns = s[min(how.map_step, n - 1)], image.shape[2] // 2, image.shape[3] // 2
    maps = []
    for _ in range(how.maps):
        z = (1 - level) * image + level * draw()
        v_s, v_t = (velocity(editor, z, level, p, how.source_guidance) for p in prompts)
        cells = (v_t - v_s)[0].square().sum(0).numpy().reshape(rows, 2, columns, 2)
        length = np.sqrt(cells.sum((1, 3)))
        maps.append((length - length.min()) / (length.max() - length.min()))
    mask = torch.from_numpy(np.kron(grown(np.mean(maps, 0)), np.ones((2, 2)))).float()
    return image, held(editor, image, s, prompts, how, draw, mask, reset=True)


def grown(heat: np.ndarray) -> np.ndarray:
    """FusionEdit's mask of a heat map, by regions that grow from each seed in turn."""
    heat = np.floor(255 * (heat - heat.min()) / (heat.max() - heat.min() + 1e-8))
    rows, columns = heat.shape
    rim, weights = np.pad(heat, 1, mode="reflect"), (1, 2, 1)
    total = sum(
        weights[i] * weights[j] * rim[i : i + rows, j : j + columns]
        for i in range(3)
        for j in range(3)
    )
    smooth = (total + 8) // 16
    seeds = [tuple(c) for c in np.argwhere(smooth > smooth.mean() + 0.5 * smooth.std())]
    taken: set[Any] = set()
    for seed in seeds or [np.unravel_index(smooth.argmax(), smooth.shape)]:
        queue = [] if seed in taken else [tuple(seed)]
        values = [smooth[cell] for cell in queue]
        taken.update(queue)
        while queue:
            i, j = queue.pop(0)
            for a in range(max(0, i - 1), min(rows, i + 2)):
                for b in range(max(0, j - 1), min(columns, j + 2)):
                    if (a, b) not in taken and abs(smooth[a, b] - np.mean(values)) < 0.1:
                        taken.add((a, b))
                        queue.append((a, b))
                        values.append(smooth[a, b])
    mean = np.mean([smooth[cell] for cell in taken])
    m = np.array([[(i, j) in taken for j in range(columns)] for i in range(rows)])
    m = ((m | (smooth > mean)) & (heat >= 0.2 * 255)).astype(float)
    for best in (np.nanmax, np.nanmin, np.nanmin, np.nanmax, np.nanmax, np.nanmax):
        m = best(squares(m, 1), -1)
    return m


ORACLES: dict[str, Callable[..., Made]] = {
    "decflowedit": decflowedit,
    "fusionedit": fusionedit,
}
