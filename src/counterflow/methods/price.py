"""What a method costs, counted by running it on a model of nothing: no weights, every site."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from counterflow.backbones.base import ATTENTION, Block, ClassifierFree, Conditioning, Site
from counterflow.flow import Grid, Latent
from counterflow.methods import base
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.prompts import Kind, Segment

BLOCKS, TOKENS, WIDTH = 6, 4, 4
PROMPTS = "a red cat", "a blue cat", "a blue dog"


@dataclass(frozen=True)
class Price:
    """Forwards of the network on single samples, of a picture at the method's settings."""

    first: int
    """For the first target, the inversion included."""
    further: int
    """For each further target of the same picture, edited along with it."""


class Nothing:
    """A backbone that knows the answer: a velocity that its prompt and the latent decide."""

    family = "none"
    identity = "none"
    multiple, token, area, longest = 2, 2, 16, 64
    distilled = ""
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.modules: list[Site] = [
            Site(stream, part, block, nn.Identity(), compared=lambda value: value[:, None])
            for block in range(BLOCKS)
            for stream in ("image", "text")
            for part in ("modulated", *ATTENTION)
            if (stream, part) != ("image", "modulated")
        ]

    def embed(self, prompt: str) -> Conditioning:
        """A row for each word; the words decide a number."""
        words = [*prompt.split(), *[""] * TOKENS][:TOKENS]
        ids = tuple(sum(map(ord, word)) for word in words)
        ends = [prompt.find(word) for word in words]
        spans = tuple((at, at + len(word)) for at, word in zip(ends, words, strict=True))
        kinds: tuple[Kind, ...] = tuple("content" if word else "pad" for word in words)
        segment = Segment("words", 0, ids, spans, kinds)
        value = torch.tensor([[sum(ids) / 1000]])
        return Conditioning(prompt, {"value": value}, (segment,), TOKENS)

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """Equal steps."""
        return Grid.uniform(steps)

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """Every site is passed; the velocity differs by prompt, level and place."""
        for site in self.modules:
            site.module(torch.ones(len(x), TOKENS, WIDTH))
        value = conditioning.tensors["value"].reshape(-1, 1, 1, 1)
        place = torch.linspace(0, 1, x[0].numel()).reshape(x[:1].shape)
        return 0.1 * x + (1 + sigma) * value * (1 + place)

    def steady(self) -> AbstractContextManager[None]:
        """Nothing to remember."""
        return nullcontext()

    def guidance(self, scale: float) -> ClassifierFree:
        """Classifier-free guidance, the dearest form."""
        return ClassifierFree(scale)

    def encode(self, picture: Tensor) -> Latent:
        """Not used."""
        return picture

    def decode(self, latent: Latent) -> Tensor:
        """Not used."""
        return latent

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Four channels, a cell for each pixel."""
        return 4, size[1], size[0]

    def sites(self) -> list[Site]:
        """All of them."""
        return self.modules

    def blocks(self) -> list[Block]:
        """As many, each of which passes on what it gets."""
        return [Block(nn.Identity(), lambda args, named: args) for _ in range(BLOCKS)]


@lru_cache(maxsize=1024)
def price(method: Method) -> Price:
    """What a method costs where guidance takes two forwards, features of the source included."""
    model = Nothing()
    source, *targets = map(model.embed, PROMPTS)
    shape = model.latent_shape((TOKENS, TOKENS))
    image = torch.linspace(-1, 1, 4 * TOKENS**2).reshape(1, *shape)
    run = Run(
        model,
        image,
        method.grid(model, (TOKENS, TOKENS)),
        source,
        model.embed(""),
        targets,
        [method.row_map(source, target) for target in targets],
        mask=torch.ones(1, 1, *shape[1:]) if method.needs_mask else None,
    )
    base.edit(method, run, method.invert(run))
    further = run.own // len(targets)
    return Price(run.forwards - further * (len(targets) - 1), further)
