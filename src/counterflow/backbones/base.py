"""The protocol that an adapter fulfils: a few facts, small functions, its sites and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterflow.flow import Grid, Latent
from counterflow.prompts import Segment

Stream = Literal["image", "text"]
"""Whose tokens the features at a site are."""
SitePart = Literal["modulated", "q", "k", "v"]
"""`modulated`: features after the adaptive LayerNorm, as they enter joint attention. `q`, `k`, `v`:
attention features, before their norm and the rotary embedding."""

ATTENTION: tuple[SitePart, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Site:
    """A place in the model where features `[batch, tokens, width]` can be read and replaced.

    `module` is hooked with a plain forward hook. `read` takes the features out of its output,
    `write` returns the output with other features in their place.
    """

    stream: Stream
    part: SitePart
    block: int
    module: nn.Module = field(repr=False)
    read: Callable[[Any], Tensor] = field(repr=False, default=lambda output: output)
    write: Callable[[Any, Tensor], Any] = field(repr=False, default=lambda output, value: value)
    compared: Callable[[Tensor], Tensor] | None = field(repr=False, default=None)
    """For q and k, the features as attention compares them, `[batch, heads, tokens, width]`."""
    entering: int | None = None
    """Where the features are those that enter the module, not its output: which of its positional
    arguments. They are exchanged before it is called."""

    @property
    def name(self) -> str:
        """Unique within a backbone."""
        return f"{self.block}.{self.stream}.{self.part}"


@dataclass(frozen=True)
class Block:
    """A block of the model, and how to do without it."""

    module: nn.Module = field(repr=False)
    passed: Callable[[tuple[Any, ...], dict[str, Any]], Any] = field(repr=False)
    """From its arguments, what it would put out if it added nothing to its streams."""


@dataclass(frozen=True)
class Conditioning:
    """A prompt, embedded: what the network gets, and which row came from which words."""

    prompt: str
    tensors: dict[str, Tensor] = field(repr=False)
    """Keyword arguments of the network, each with batch dimension 1."""
    segments: tuple[Segment, ...] = field(repr=False)
    length: int
    """Rows of the text stream."""
    unknown: tuple[str, ...] = ()
    """Words of the prompt that the model never learned, where its folder says what it did."""
    attended: int | None = None
    """Rows, from the first, that attention sees; None for all."""

    @property
    def cut(self) -> dict[str, str]:
        """By tokenizer, the end of the prompt that did not fit."""
        return {s.name: s.cut for s in self.segments if s.cut}

    def rows(self, chunk: slice) -> Conditioning:
        """Some rows of a batch of prompts."""
        return replace(self, tensors={name: each[chunk] for name, each in self.tensors.items()})


@runtime_checkable
class Guidance(Protocol):
    """How a family guides a velocity by its prompt, at one scale, and what that costs."""

    @property
    def scale(self) -> float:
        """1 is the prompt alone."""
        ...

    @property
    def forwards(self) -> int:
        """Forwards for one guided velocity: 1, or 2 with an unconditional pass."""
        ...

    @property
    def linear(self) -> bool:
        """Whether it is linear in the two velocities: of differences it is the difference."""
        ...

    def condition(self, conditioning: Conditioning) -> Conditioning:
        """The conditioning of the conditional pass; models with embedded guidance are told here."""
        ...

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """The guided velocity; `unconditional` is None where `forwards` is 1."""
        ...


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance, `u + scale * (c - u)` (Ho and Salimans 2022, arXiv 2207.12598).

    At scale 1 that is `c`, and no unconditional pass is made.
    """

    scale: float
    linear: ClassVar[bool] = True

    @property
    def forwards(self) -> int:
        """1 at scale 1, else 2."""
        return 1 if self.scale == 1 else 2

    def condition(self, conditioning: Conditioning) -> Conditioning:
        """As it is: the model is not told the scale."""
        return conditioning

    def __call__(self, conditional: Latent, unconditional: Latent | None) -> Latent:
        """`u + scale * (c - u)`."""
        if unconditional is None:
            return conditional
        return unconditional + self.scale * (conditional - unconditional)


@runtime_checkable
class Backbone(Protocol):
    """A flow transformer with its text encoders and autoencoder.

    Sizes are (width, height) in pixels; pictures are float `[b, 3, height, width]` in −1…1.
    """

    family: str
    identity: str
    """Which weights these are, for records and for checking stored inversions."""
    multiple: int
    """Width and height must be multiples of this."""
    area: int
    """Number of pixels the model was made for."""
    longest: int
    """Most pixels of a side."""
    distilled: str
    """What to know of a model that was distilled for few steps; empty for another."""
    device: torch.device
    dtype: torch.dtype

    @property
    def token(self) -> int:
        """Pixels on a side of the square that an image token covers."""
        ...

    def embed(self, prompt: str) -> Conditioning:
        """Embed a prompt; `""` is the unconditional one."""
        ...

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """The noise levels that the model's own pipeline would use."""
        ...

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """`noise - image` at a noise level. Takes and returns float32, `[b, c, h, w]`.

        The conditioning has one row, or one for each row of `x`.
        """
        ...

    def steady(self) -> AbstractContextManager[None]:
        """Inside, what noise level and prompts alone decide is computed once while they stay."""
        ...

    def guidance(self, scale: float) -> Guidance:
        """This family's guidance at a scale; 1 is the prompt alone."""
        ...

    def encode(self, picture: Float[Tensor, "b 3 height width"]) -> Latent:
        """Picture to latent: the mode of the encoder's distribution, not a sample."""
        ...

    def decode(self, latent: Latent) -> Float[Tensor, "b 3 height width"]:
        """Latent to picture."""
        ...

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Channels, height and width of the latent of a picture."""
        ...

    def sites(self) -> Sequence[Site]:
        """Every place that a control may use."""
        ...

    def blocks(self) -> Sequence[Block]:
        """The blocks in order, numbered as their sites are."""
        ...


def block_count(backbone: Backbone) -> int:
    """Number of blocks that have sites."""
    return 1 + max((site.block for site in backbone.sites()), default=-1)


def stacked(conditionings: Sequence[Conditioning]) -> Conditioning:
    """Several prompts as one batch; its words and rows are the first one's."""
    first = conditionings[0]
    if len(conditionings) == 1:
        return first
    tensors = {
        name: torch.cat([each.tensors[name] for each in conditionings]) for name in first.tensors
    }
    return replace(first, tensors=tensors)
