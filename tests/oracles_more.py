"""The published methods as plain loops: single-row forwards, own guidance, own noise, own hooks.

Each takes the picture's latent, the grid's noise levels, both prompts, the method for its settings,
and a seed for whatever noise it draws, inversion and edit from it anew. It returns where the edit
starts, and the edit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterflow.edit.editor import Editor
from oracles import sites, velocity
from tools import watched

Prompts = tuple[str, str]
Made = tuple[Tensor, Tensor]


def draws(image: Tensor, seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(image.shape, generator=generator)


def sdedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    n = len(s) - 1
    first = n - min(n, how.n_start)
    x = start = (1 - s[first]) * image + s[first] * draws(image, seed)()
    for k in range(first, n):
        x = x + (s[k + 1] - s[k]) * velocity(editor, x, s[k], prompts[1], how.guidance)
    return start, x


def rf_inversion(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    """The window is (first, end) in steps, rounded down."""
    n, y1, y = len(s) - 1, draws(image, seed)(), image
    window = how.eta_ratio if isinstance(how.eta_ratio, tuple) else (0, how.eta_ratio)
    first, end = (int(share * n + 1e-9) for share in window)
    for k in reversed(range(n)):
        u = velocity(editor, y, s[k + 1], "", 1)
        to_noise = (y1 - y) / (1 - s[k + 1])
        y = y + (s[k] - s[k + 1]) * ((1 - how.gamma) * u + how.gamma * to_noise)
    z = y
    for k in range(n):
        v = velocity(editor, z, s[k], prompts[1], how.guidance)
        eta = how.eta if first <= k < end else 0
        z = z + (s[k + 1] - s[k]) * ((1 - eta) * v + eta * (z - image) / s[k])
    return y, z


def kept(
    editor: Editor, x: Tensor, sigma: float, prompt: str, blocks: Collection[int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The velocity under a prompt, and V of all rows in some blocks."""
    with watched(sites(editor, blocks, False, True)) as outputs:
        v = editor.backbone.velocity(x, sigma, editor.backbone.embed(prompt))
    return v, dict(outputs)


def given(
    editor: Editor,
    x: Tensor,
    sigma: float,
    prompt: str,
    guidance: float,
    values: dict[str, Tensor] | None,
    blocks: Collection[int],
) -> Tensor:
    """The guided velocity, whose conditional forward has these V."""
    backbone, handles = editor.backbone, []
    u = backbone.velocity(x, sigma, backbone.embed(""))
    if values is not None:
        for name, module in sites(editor, blocks, False, True).items():
            handles.append(module.register_forward_hook(lambda _m, _i, _o, v=values[name]: v))
    try:
        c = backbone.velocity(x, sigma, backbone.embed(prompt))
    finally:
        for handle in handles:
            handle.remove()
    return u + guidance * (c - u)


def shared_values(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: Prompts,
    how: Any,
    seed: int,
    carried: bool,
) -> Made:
    """The Taylor step as RF-Solver's code writes it; with `carried` its first velocity is the last
    step's half-way one, as in FireFlow.
    """
    n, x, before = len(s) - 1, image, None
    count = len(editor.backbone.transformer.transformer_blocks)
    blocks = range(count)[-max(1, round(how.late * count)) :]
    store: dict[tuple[int, str], dict[str, Tensor]] = {}
    for k in reversed(range(n)):
        h = s[k] - s[k + 1]
        if before is None:
            before, store[k, "first"] = kept(editor, x, s[k + 1], prompts[0], blocks)
        middle = x + h / 2 * before
        v, store[k, "half"] = kept(editor, middle, s[k + 1] + h / 2, prompts[0], blocks)
        x = x + h * before + h**2 / 2 * (v - before) / (h / 2)
        before = v if carried else None
    start, before = x, None
    for k in range(n):
        h = s[k + 1] - s[k]

        def values(which: str, k: int = k) -> dict[str, Tensor] | None:
            return store.get((k, which)) if k < how.inject else None

        given_to = (prompts[1], how.guidance)
        if before is None:
            before = given(editor, x, s[k], *given_to, values("first"), blocks)
        middle = x + h / 2 * before
        v = given(editor, middle, s[k] + h / 2, *given_to, values("half"), blocks)
        x = x + h * before + h**2 / 2 * (v - before) / (h / 2)
        before = v if carried else None
    return start, x


def rf_solver(*args: Any) -> Made:
    return shared_values(*args, carried=False)


def fireflow(*args: Any) -> Made:
    return shared_values(*args, carried=True)


def pmi(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    """Both loops as published, but for the first correction; the mean by the time that went by."""
    n, fire = len(s) - 1, how.base == "fireflow"
    count = len(editor.backbone.transformer.transformer_blocks)
    blocks = range(count)[-max(1, round(how.late * count)) :]
    store: dict[tuple[int, str], dict[str, Tensor]] = {}

    def asked(x: Tensor, level: float, k: int, which: str, editing: bool) -> Tensor:
        if not editing:
            v, store[k, which] = kept(editor, x, level, prompts[0], blocks)
            return v
        values = store.get((k, which)) if k < how.inject else None
        return given(editor, x, level, prompts[1], how.guidance, values, blocks)

    def loop(x: Tensor, editing: bool) -> Tensor:
        before, total = None, torch.zeros_like(x)
        for k in range(n) if editing else reversed(range(n)):
            a, b = (s[k], s[k + 1]) if editing else (s[k + 1], s[k])
            if fire:
                p = asked(x, a, k, "first", editing) if before is None else before
                v = asked(x + (b - a) / 2 * p, (a + b) / 2, k, "half", editing)
            else:
                v = asked(x, a, k, "half", editing)
            total = total + (b - a) * v
            mean = total / (b - 1 if editing else b)
            new = how.w * v
            if not editing and before is None:
                new = v
            elif not editing:
                g = (v - mean) + torch.sign(v - before)
                new = v - math.sqrt(2 * how.size + 3 * math.sqrt(2 * how.size)) * (b - a) * (
                    g / g.norm()
                )
            elif how.mimic == "off":
                new = v
            elif how.mimic == "paper":
                new += (1 - how.w) * (v * mean).sum() / mean.norm() ** 2 * mean
            else:
                new += (1 - how.w) * mean * (v * mean) / (v if fire else mean).norm() ** 2
            x, before = x + (b - a) * new, new
            if not fire and how.mimic != "paper":
                total = total + (b - a) * new
        return x

    start = loop(image, False)
    return start, loop(start, True)


def uniinv(
    editor: Editor, image: Tensor, s: Sequence[float], prompt: str, stop: int, zero: bool
) -> list[Tensor]:
    """Latents by interval, noise first."""
    v = torch.zeros_like(image) if zero else velocity(editor, image, 0.0, prompt, 1)
    latents = [image]
    for k in range(len(s) - 2, stop - 1, -1):
        x, h = latents[0], s[k] - s[k + 1]
        v = velocity(editor, x + h * v, s[k], prompt, 1)
        latents.insert(0, x + h * v)
    return latents


def uniedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    n = len(s) - 1
    first = n - max(1, int(how.alpha * n))
    z = start = uniinv(editor, image, s, "", first, how.zero_start)[0]
    for k in range(first, n):
        v_s, v_t = (velocity(editor, z, s[k], prompt, how.guidance) for prompt in prompts)
        d = v_t - v_s
        m = (d if how.signed else d.abs()).mean(1)
        m = ((m - m.min()) / (m.max() - m.min() + 1e-7))[:, None]
        z = z + (s[k + 1] - s[k]) * (v_s + (m + how.omega * (1 + m)) * d)
    return start, z


def flowalign(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    noise, x = draws(image, seed), image
    for k in range(len(s) - 1):
        q = (1 - s[k]) * image + s[k] * noise()
        p = x + q - image
        v_q, v_ps, v_pt = (
            velocity(editor, at, s[k], prompt, 1)
            for at, prompt in ((q, prompts[0]), (p, prompts[0]), (p, prompts[1]))
        )
        v_p = v_ps + how.guidance * (v_pt - v_ps)
        pull = (q - s[k] * v_q) - (p - s[k] * v_p)
        x = x + (s[k + 1] - s[k]) * (v_p - v_q) + how.weight * pull
    return image, x


def dnaedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    """With the correction of the noise as the published code writes it."""
    n, x, noise = len(s) - 1, image, draws(image, seed)()
    v_s, moved = {}, {}
    for k in range(n - 1, how.skip_steps - 1, -1):
        a, b = s[k + 1], s[k]
        q = x + (b - a) / (1 - a) * (noise - x)
        v_s[k] = velocity(editor, q, b, prompts[0], how.source_guidance)
        d = (q - x) / (b - a) - v_s[k]
        x, moved[k] = q - (b - a) * d, (b - a) * d
        noise = noise - (1 - a) * d
    start, z, reference = x, x, image
    for k in range(how.skip_steps, n):
        ds = s[k + 1] - s[k]
        v = velocity(editor, z + moved[k], s[k], prompts[1], how.guidance)
        reference = reference + ds * (v - v_s[k])
        z = z + ds * (how.eta * v + (1 - how.eta) * (z - reference) / s[k])
    return start, z


def steerflow(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    known = uniinv(editor, image, s, prompts[0], 0, False)
    z = known[0]
    for k in range(len(s) - 1):
        ds = s[k + 1] - s[k]
        v_s = (known[k + 1] - known[k]) / ds
        u, c = (velocity(editor, z, s[k], prompt, 1) for prompt in ("", prompts[1]))
        v_t = u + how.guidance * (c - u)
        cosine = (v_t * v_s).sum() / (v_t.norm() * v_s.norm())
        m = closed_mask((c - v_s)[0].square().sum(0).sqrt().numpy(), how)
        z = z + ds * (v_s + m * (1 - s[k + 1] ** how.alpha) * cosine * (v_t - v_s))
    return known[0], z


def closed_mask(length: np.ndarray, how: Any) -> Tensor:
    """SteerFlow's, cell by cell: a window beyond the border ends there."""
    low, high = np.quantile(length, 1 - how.quantile), np.quantile(length, how.quantile)
    m = 1 / (1 + np.exp(-how.sharpness * ((length - low) / (high - low + 1e-8) - 0.5)))
    r = how.closing // 2
    for best in (np.max, np.min):
        m = np.array(
            [
                [best(m[max(0, i - r) : i + r + 1, max(0, j - r) : j + r + 1]) for j in columns]
                for i, columns in enumerate([range(m.shape[1])] * m.shape[0])
            ]
        )
    return torch.from_numpy(m).float()


def chordedit(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    """From the predicted pictures, and one level alone; `s` is not used."""
    draw = draws(image, seed)
    noises = [draw() for _ in range(how.n_avg)]
    t, delta = how.sigma, how.delta if how.delta < how.sigma else how.sigma - 1 / 999

    def change(level: float) -> Tensor:
        total = torch.zeros_like(image)
        for noise in noises:
            z = (1 - level) * image + level * noise
            before, after = (
                z - level * velocity(editor, z, level, prompt, how.guidance) for prompt in prompts
            )
            total += after - before
        return total / len(noises)

    x = image + how.strength * (delta * change(t) + t * change(t - delta)) / (t + delta)
    last = min(how.last_sigma, t)
    if last > 0:
        z = (1 - last) * x + last * noises[0]
        x = z - last * velocity(editor, z, last, prompts[1], how.guidance)
    return image, x


def dvrf(
    editor: Editor, image: Tensor, s: Sequence[float], prompts: Prompts, how: Any, seed: int
) -> Made:
    n, x, draw = len(s) - 1, image, draws(image, seed)
    a = (s[n - 2] - s[n - 1]) / 1.6
    for i in range(n):
        u, eta = i / (n + 27), how.drift * i / n
        hump = (u / 0.5625) ** 9 * ((1 - u) / 0.4375) ** 7
        rate = 2.2 * ((a / 1.6 - a / 4) * hump + a / 4 * u)
        total = torch.zeros_like(x)
        for _ in range(how.n_avg):
            noise = draw()
            z_s = (1 - s[i]) * image + s[i] * noise
            z_t = (1 - s[i]) * x + s[i] * noise + eta * s[i] * (x - image)
            v_t = velocity(editor, z_t, s[i], prompts[1], how.guidance)
            total += v_t - velocity(editor, z_s, s[i], prompts[0], how.source_guidance)
        x = x - rate * (total / how.n_avg + (1 - eta) * (x - image))
    return image, x


ORACLES: dict[str, Callable[..., Made]] = {
    "sdedit": sdedit,
    "rf-inversion": rf_inversion,
    "rf-solver": rf_solver,
    "fireflow": fireflow,
    "pmi": pmi,
    "pmi-euler": pmi,
    "prompt-swap": sdedit,
    "uniedit": uniedit,
    "flowalign": flowalign,
    "dnaedit": dnaedit,
    "steerflow": steerflow,
    "chordedit": chordedit,
    "dvrf": dvrf,
}
