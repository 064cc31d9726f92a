"""Methods as plain loops: single-row forwards, guidance written out, hooks set by hand."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones.base import Conditioning
from counterflow.edit.editor import Editor
from tools import mapped, watched


def velocity(editor: Editor, x: Tensor, sigma: float, prompt: str, guidance: float) -> Tensor:
    """`u + g * (c - u)`, two forwards whatever `g` is."""
    backbone = editor.backbone
    c = backbone.velocity(x, sigma, backbone.embed(prompt))
    u = backbone.velocity(x, sigma, backbone.embed(""))
    return u + guidance * (c - u)


def euler(
    editor: Editor, image: Tensor, s: Sequence[float], source: str, g: float = 1
) -> list[Tensor]:
    """Euler inversion: the latents at every level of `s`, noise first."""
    latents = [image]
    for k in reversed(range(len(s) - 1)):
        v = velocity(editor, latents[0], s[k], source, g)
        latents.insert(0, latents[0] + (s[k] - s[k + 1]) * v)
    return latents


def fixed_point(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    source: str,
    iterations: int,
    averaged: Collection[int],
    g: float = 1,
) -> list[Tensor]:
    """Stage I with the mean of some evaluations, down to the first level of `s`."""
    latents = [image]
    for k in reversed(range(len(s) - 1)):
        z, velocities = latents[0], []
        for _ in range(iterations + 1):
            velocities.append(velocity(editor, z, s[k], source, g))
            z = latents[0] + (s[k] - s[k + 1]) * velocities[-1]
        mean = sum(velocities[i] for i in averaged) / len(averaged)
        latents.insert(0, latents[0] + (s[k] - s[k + 1]) * mean)
    return latents


def ode(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: tuple[str, str],
    rule: str,
    guidances: tuple[float, float],
) -> Tensor:
    """Up the levels under the first prompt, down again under the second."""
    x = image
    levels = [*reversed(s)]
    for prompt, g, way in zip(prompts, guidances, (levels, levels[::-1]), strict=True):
        for a, b in pairwise(way):
            if rule == "midpoint":
                middle = x + (b - a) / 2 * velocity(editor, x, a, prompt, g)
                x = x + (b - a) * velocity(editor, middle, (a + b) / 2, prompt, g)
            elif rule == "euler" or b < a:  # DDIM samples as Euler does
                x = x + (b - a) * velocity(editor, x, max(a, b), prompt, g)
            else:
                x = ddim_up(editor, x, a, b, prompt, g)
    return x


def ddim_up(editor: Editor, x: Tensor, a: float, b: float, prompt: str, g: float) -> Tensor:
    """Song et al.'s inversion in the variance-preserving space; at pure noise by the image."""
    scale_a, scale_b = math.hypot(1 - a, a), math.hypot(1 - b, b)
    z = x / scale_a
    there = z * scale_b
    v = velocity(editor, there, b, prompt, g)
    if b == 1:
        return (x - (1 - a) * (there - v)) / a
    eps = there + (1 - b) * v
    image = (z - a / scale_a * eps) / ((1 - a) / scale_a)
    return ((1 - b) / scale_b * image + b / scale_b * eps) * scale_b


def flowedit(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: tuple[str, str],
    seed: int,
    fresh: bool,
    n_max: int,
    n_min: int,
    n_avg: int,
    guidances: tuple[float, float],
) -> Tensor:
    """Kulikov et al.'s algorithm 1, and plain sampling in the last `n_min` steps."""
    generator = torch.Generator().manual_seed(seed)
    steps = len(s) - 1
    noises: list[Tensor] = []
    x, sampling = image, False
    for k in range(max(0, steps - n_max), steps):
        if (fresh and not sampling) or not noises:
            noises = [torch.randn(image.shape, generator=generator) for _ in range(n_avg)]
        if steps - k > n_min:
            total = torch.zeros_like(x)
            for noise in noises:
                z = (1 - s[k]) * image + s[k] * noise
                v_source = velocity(editor, z, s[k], prompts[0], guidances[0])
                v_target = velocity(editor, x + z - image, s[k], prompts[1], guidances[1])
                total = total + v_target - v_source
            x = x + (s[k + 1] - s[k]) * total / n_avg
        else:
            if not sampling:
                x = x + (1 - s[k]) * image + s[k] * noises[0] - image
                sampling = True
            x = x + (s[k + 1] - s[k]) * velocity(editor, x, s[k], prompts[1], guidances[1])
    return x


# Controls of FTEdit's published code, set by hand


def sites(
    editor: Editor, blocks: Collection[int], text: bool, values: bool
) -> dict[str, nn.Module]:
    """The modules whose outputs are exchanged."""
    found: dict[str, nn.Module] = {}
    for i in blocks:
        block = editor.backbone.transformer.transformer_blocks[i]
        if text:
            found[f"text {i}"] = block.norm1_context
        if values:
            found[f"image value {i}"] = block.attn.to_v
            found[f"text value {i}"] = block.attn.add_v_proj
    return found


def controlled(
    editor: Editor,
    x: Tensor,
    at: Tensor,
    sigma: float,
    prompts: tuple[str, str],
    rows: list[int | None],
    text: Collection[int],
    values: Collection[int],
    guidance: float,
) -> Tensor:
    """The target's guided velocity at `x`, with the source's features at `at`: modulated text rows
    by `rows` in the blocks `text`, all values by position in the blocks `values`.
    """
    backbone = editor.backbone
    modules = sites(editor, text, True, False) | sites(editor, values, False, True)
    with watched(modules) as outputs:
        backbone.velocity(at, sigma, backbone.embed(prompts[0]))
    source = dict(outputs)

    def replaced(name: str, out: Any) -> Any:
        if "value" in name:
            return source[name]
        if isinstance(out, tuple):
            return mapped(out[0], source[name][0], rows), *out[1:]
        return mapped(out, source[name], rows)

    u = backbone.velocity(x, sigma, backbone.embed(""))
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: replaced(name, out))
        for name, module in modules.items()
    ]
    try:
        c = backbone.velocity(x, sigma, backbone.embed(prompts[1]))
    finally:
        for handle in handles:
            handle.remove()
    return u + guidance * (c - u)


def published_rows(source: Conditioning, target: Conditioning) -> list[int | None]:
    """The reference's map: the first tokenizer of each row decides, padding is by position."""
    rows: list[int | None] = []
    for old, new in zip(source.segments, target.segments, strict=True):
        if new.start < len(rows):
            continue
        assert new.start == len(rows) == old.start
        before = [i for i, kind in zip(old.ids, old.kinds, strict=True) if kind != "pad"]
        after = [i for i, kind in zip(new.ids, new.kinds, strict=True) if kind != "pad"]
        partners = last_pairs_first(before, after)
        partners += list(range(len(after), len(new.ids)))
        rows += [None if i is None else old.start + i for i in partners]
    return rows


def last_pairs_first(source: Sequence[int], target: Sequence[int]) -> list[int | None]:
    """The reference's rule, said otherwise: of all longest common subsequences the one whose last
    pair is at the earliest target token, and the earliest source token of those; then so on with
    what is before that pair.
    """

    def longest(n: int, m: int) -> int:
        table = [[0] * (m + 1) for _ in range(n + 1)]
        for i in range(n):
            for j in range(m):
                same = source[i] == target[j]
                longer = max(table[i][j + 1], table[i + 1][j])
                table[i + 1][j + 1] = table[i][j] + 1 if same else longer
        return table[n][m]

    partners: list[int | None] = [None] * len(target)
    n, m = len(source), len(target)
    while length := longest(n, m):
        m = next(j for j in range(m + 1) if longest(n, j) == length)
        n = next(i for i in range(n + 1) if longest(i, m) == length)
        n, m = n - 1, m - 1
        partners[m] = n
    return partners
