"""The protocol that an adapter fulfils: a few facts, five small functions and its sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterflow.flow import Field, Grid, Latent, Step
from counterflow.prompts import Segment

SiteKind = Literal["text", "image.q", "image.k", "image.v", "text.q", "text.k", "text.v"]
"""`text`: the modulated text features that enter joint attention. The others: attention
features of image or text tokens, before norm and rotary embedding."""


@dataclass(frozen=True)
class Site:
    """A place in the model where features `[batch, tokens, width]` can be read and replaced.

    `module` is hooked with a plain forward hook. `read` takes the features out of its output,
    `write` returns the output with other features in their place.
    """

    kind: SiteKind
    block: int
    module: nn.Module = field(repr=False)
    read: Callable[[Any], Tensor] = field(repr=False, default=lambda output: output)
    write: Callable[[Any, Tensor], Any] = field(repr=False, default=lambda output, value: value)

    @property
    def name(self) -> str:
        """Unique within a backbone."""
        return f"{self.block}.{self.kind}"


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

    @property
    def cut(self) -> dict[str, str]:
        """By tokenizer, the end of the prompt that did not fit."""
        return {s.name: s.cut for s in self.segments if s.cut}


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
    device: torch.device
    dtype: torch.dtype

    def embed(self, prompt: str) -> Conditioning:
        """Embed a prompt; `""` is the unconditional one."""
        ...

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """The noise levels that the model's own pipeline would use."""
        ...

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """`noise - image` at a noise level. Takes and returns float32, `[b, c, h, w]`."""
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


def field_of(backbone: Backbone, conditioning: Conditioning) -> Field:
    """The backbone's velocity under one conditioning."""

    def velocity(x: Tensor, step: Step) -> Tensor:
        return backbone.velocity(x, step.sigma, conditioning)

    return velocity


def stacked(conditionings: Sequence[Conditioning]) -> Conditioning:
    """Several prompts as one batch; its words and rows are the first one's."""
    first = conditionings[0]
    tensors = {
        name: torch.cat([each.tensors[name] for each in conditionings]) for name in first.tensors
    }
    return replace(first, tensors=tensors)
