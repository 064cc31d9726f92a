"""Methods of attention features as plain loops: joint attention written out, one row a forward.

Each takes the picture's latent, the grid's noise levels, both prompts, the method for its settings,
the mask of cells and the noise that it may start from, and returns start, edit and object found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from counterflow.edit.editor import Editor

Prompts = tuple[str, str]
Made = tuple[Tensor, Tensor, Tensor | None]
Hook = Callable[[int, list[Tensor], list[Tensor]], None]
"""Block, and q, k, v of image and of text `[1, heads, tokens, d]` after the norm, to be changed."""


class Joint:
    """SD3's joint attention with a hook between norm and attention."""

    def __init__(self, number: int, hook: Hook) -> None:
        self.number, self.hook = number, hook

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any, **_: Any):
        def heads(x: Tensor) -> Tensor:
            b, n, w = x.shape
            return x.view(b, n, attn.heads, w // attn.heads).transpose(1, 2)

        image = [heads(f(hidden_states)) for f in (attn.to_q, attn.to_k, attn.to_v)]
        added = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        text = [heads(f(encoder_hidden_states)) for f in added]
        norms = (attn.norm_q, attn.norm_k), (attn.norm_added_q, attn.norm_added_k)
        for features, pair in zip((image, text), norms, strict=True):
            for i, norm in enumerate(pair):
                features[i] = features[i] if norm is None else norm(features[i])
        self.hook(self.number, image, text)
        q, k, v = (torch.cat(pair, 2) for pair in zip(image, text, strict=True))
        out = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        out = out.transpose(1, 2).flatten(2)
        n = hidden_states.shape[1]
        words = out[:, n:] if attn.context_pre_only else attn.to_add_out(out[:, n:])
        return attn.to_out[1](attn.to_out[0](out[:, :n])), words


@contextmanager
def hooked(editor: Editor, hook: Hook) -> Iterator[None]:
    blocks = editor.backbone.transformer.transformer_blocks
    before = [block.attn.processor for block in blocks]
    for number, block in enumerate(blocks):
        block.attn.processor = Joint(number, hook)
    try:
        yield
    finally:
        for block, processor in zip(blocks, before, strict=True):
            block.attn.processor = processor


def ask(editor: Editor, x: Tensor, sigma: float, prompt: str, hook: Hook | None = None) -> Tensor:
    if hook is None:
        return editor.backbone.velocity(x, sigma, editor.backbone.embed(prompt))
    with hooked(editor, hook):
        return editor.backbone.velocity(x, sigma, editor.backbone.embed(prompt))


def guided(u: Tensor, c: Tensor, scale: float) -> Tensor:
    return u + scale * (c - u)


def tokens(mask: Tensor) -> Tensor:
    """2x2 cells a token, row by row."""
    _, _, h, w = mask.shape
    corners = [(i, j) for i in range(0, h, 2) for j in range(0, w, 2)]
    return torch.stack([mask[0, 0, i : i + 2, j : j + 2].max() for i, j in corners])


def changed_rows(editor: Editor, prompts: Prompts, named: Sequence[str]) -> list[int]:
    """Rows whose token is part of a word that only the source says, or of one that is named."""
    words = named or [word for word in prompts[0].split() if word not in prompts[1].split()]
    words = [word.strip(",.").lower() for word in words]
    return [
        segment.start + i
        for segment in editor.backbone.embed(prompts[0]).segments[1:]
        for i, (a, b) in enumerate(segment.offsets)
        if b > a and prompts[0][a:b].strip().lower() in words
    ]


def consistedit(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: Prompts,
    how: Any,
    mask: Tensor | None,
    noise: Tensor,
) -> Made:
    n, store, maps = len(s) - 1, {}, []
    up = s[::-1]
    x = z = image
    for j in range(n + 1):

        def keep(block: int, image: Any, text: Any, j: int = j) -> None:
            store[j, block] = list(image)
            q, k = (torch.cat([image[i], text[i]], 2) for i in (0, 1))
            shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            count = image[0].shape[2]
            maps.append(shares[0, :, :count, count:].mean(0))

        v = ask(editor, z, up[j], prompts[0], keep)
        x = x + (up[j] - up[j - 1]) * v if j else x
        z = x + (up[j + 1] - up[j]) * v if j < n else x
    found = None
    if mask is None:
        seen = torch.stack(maps).mean(0)[:, changed_rows(editor, prompts, how.words)].sum(1)
        seen = (seen - seen.min()) / (seen.max() - seen.min() + 1e-6)
        inside = found = (seen > how.threshold).float()
    else:
        inside = tokens(mask)
    outside = 1 - inside[:, None]
    start = source = z
    for k in range(n):
        own: dict[str, Any] = {}
        everywhere = torch.ones_like(outside) if k < int(n * how.alpha) else outside

        def first(block: int, image: Any, text: Any, half: str, k: int = k, own: Any = own) -> None:
            if half == "c":
                image[:2] = store[n - 1 - k, block][:2]
                if how.guidance != 1:
                    image[2] = store[n - 1 - k, block][2]
            own[half, block] = list(image)

        def then(
            block: int, image: Any, text: Any, half: str, own: Any = own, m: Any = everywhere
        ) -> None:
            for i, weight in enumerate((m, m, outside)):
                image[i] = weight * own[half, block][i] + (1 - weight) * image[i]

        made = []
        for at, prompt, hook in ((source, prompts[0], first), (z, prompts[1], then)):
            c = ask(editor, at, s[k], prompt, lambda *a, hook=hook: hook(*a, half="c"))
            if how.guidance != 1:
                u = ask(editor, at, s[k], "", lambda *a, hook=hook: hook(*a, half="u"))
                c = guided(u, c, how.guidance)
            made.append(c)
        source, z = (y + (s[k + 1] - s[k]) * v for y, v in zip((source, z), made, strict=True))
        if mask is not None:
            z = torch.where(mask > 0, z, known_uniinv(editor, image, s, prompts[0])[k + 1])
    return start, z, found


def known_uniinv(editor: Editor, image: Tensor, s: Sequence[float], prompt: str) -> list[Tensor]:
    """UniInv's latents, noise first."""
    latents, v = [image], ask(editor, image, 0.0, prompt)
    for k in reversed(range(len(s) - 1)):
        h = s[k] - s[k + 1]
        v = ask(editor, latents[0] + h * v, s[k], prompt)
        latents.insert(0, latents[0] + h * v)
    return latents


def kv_edit(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: Prompts,
    how: Any,
    mask: Tensor,
    noise: Tensor,
) -> Made:
    n, first, store, x = len(s) - 1, how.skip_steps, {}, {len(s) - 1: image}
    background = tokens(mask) == 0

    def both(at: Tensor, sigma: float, prompt: str, scale: float, hook: Any) -> Tensor:
        c = ask(editor, at, sigma, prompt, lambda *a: hook("c", *a))
        if scale == 1:
            return c
        return guided(ask(editor, at, sigma, "", lambda *a: hook("u", *a)), c, scale)

    for k in range(n - 1, first - 1, -1):

        def keep(half: str, block: int, image: Any, text: Any, k: int = k) -> None:
            store[k, half, block] = image[1:]

        v = both(x[k + 1], s[k + 1], prompts[0], how.invert_guidance, keep)
        x[k] = x[k + 1] + (s[k] - s[k + 1]) * v
    z = x[first + 1]
    if how.re_init:
        z = (1 - s[first]) * image + s[first] * noise
    for k in range(first, n):
        z = torch.where(mask > 0, z, x[k + 1])

        def put(half: str, block: int, image: Any, text: Any, k: int = k) -> None:
            kept = store.get((k, half, block), store[k, "c", block])
            for i in (1, 2):
                image[i] = image[i].clone()
                image[i][:, :, background] = kept[i - 1][:, :, background]

        v = both(z, s[k], prompts[1], how.guidance, put)
        z = z + (s[k + 1] - s[k]) * v
    return x[first], torch.where(mask > 0, z, image), None


def stable_flow(
    editor: Editor,
    image: Tensor,
    s: Sequence[float],
    prompts: Prompts,
    how: Any,
    mask: None,
    noise: Tensor,
) -> Made:
    n, x, found = len(s) - 1, how.nudge * image, []
    for k in reversed(range(n)):
        x = x + (s[k] - s[k + 1]) * ask(editor, x, s[k], prompts[0])
        found.append(x)
    source = z = found[-1]
    count = len(editor.backbone.transformer.transformer_blocks)
    vital = range(count) if how.blocks is None else how.blocks
    for k in range(n):
        kept: dict[int, Any] = {}

        def keep(block: int, image: Any, text: Any, kept: Any = kept) -> None:
            kept[block] = image[1:]

        def put(block: int, image: Any, text: Any, kept: Any = kept) -> None:
            if block in vital:
                image[1:] = kept[block]

        ask(editor, source, s[k], prompts[0], keep)
        v = ask(editor, z, s[k], prompts[1], put)
        if how.guidance != 1:
            v = guided(ask(editor, z, s[k], "", put), v, how.guidance)
        z = z + (s[k + 1] - s[k]) * v
        right = found[n - 2 - k] if k < n - 1 else image
        source = right if how.aligned else found[-k]
    return found[-1], z, None


ORACLES: dict[str, Callable[..., Made]] = {
    "consistedit": consistedit,
    "kv-edit": kv_edit,
    "stable-flow": stable_flow,
}
