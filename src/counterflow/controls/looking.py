"""Where in the picture attention finds the words of a prompt, from remembered features."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.backbones.base import Site
from counterflow.controls.features import Features
from counterflow.flow import Step
from counterflow.prompts import Segment


def attention_to_text(
    sites: Sequence[Site], features: Features, step: Step, attended: int | None = None
) -> Float[Tensor, "tokens rows"]:
    """From each image token to each row of text in one evaluation, mean of all blocks and heads.

    Image q and k and text k of the evaluation are to be known at every block. Only the first
    `attended` rows of text count, where that is not None.
    """
    named = {site.name: site for site in sites}
    blocks = sorted({site.block for site in sites})
    total, heads = torch.zeros(()), 0
    for block in blocks:
        q, k, text = (
            _compared(named[f"{block}.{name}"], features, step)
            for name in ("image.q", "image.k", "text.k")
        )
        for one, keys in zip(q, torch.cat([k, text[:, :attended]], 1), strict=True):
            shares = (one @ keys.T * one.shape[-1] ** -0.5).softmax(-1)
            total = total.to(shares) + shares[:, k.shape[1] :]
            heads += 1
    return total / heads


def _compared(site: Site, features: Features, step: Step) -> Tensor:
    """`[heads, tokens, width]`."""
    value = features.get(step, site)
    if value is None or site.compared is None:
        raise RuntimeError(f"no features to compare at {site.name}")
    return site.compared(value.to(features.device))[0].float()


def rows_of(segments: Sequence[Segment], spans: Collection[tuple[int, int]]) -> list[int]:
    """The text rows of every token that overlaps one of a prompt's character spans."""
    rows = {
        segment.start + row
        for segment in segments
        for row, (first, stop) in enumerate(segment.offsets)
        if segment.kinds[row] == "content" and any(first < b and stop > a for a, b in spans)
    }
    return sorted(rows)
