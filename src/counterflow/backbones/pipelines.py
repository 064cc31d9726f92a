"""What adapters over pipelines share: noise levels, prompts of a batch, what is computed once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterflow.backbones import families, mmdit
from counterflow.backbones.autoencoders import Autoencoder, ScaledAutoencoder
from counterflow.backbones.base import ClassifierFree, Conditioning, Guidance, Stream
from counterflow.backbones.hooks import is_compiled
from counterflow.errors import ModelError
from counterflow.flow import Grid, Latent


class PipelineAdapter:
    """A loaded pipeline with its parts, and what most families do in the same way."""

    family: str
    length: int
    """Rows of its text stream, or of a part of it, as its pipeline's `max_sequence_length`."""
    even = True
    """Whether the pipeline hands its scheduler even noise levels, to be shifted."""

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        self.pipeline, self.identity, self.words = pipeline, identity, words
        self.transformer, self.vae = pipeline.transformer, pipeline.vae
        self.memo = Memo()
        self.device = torch.device(pipeline._execution_device)  # where offloaded parts run
        self.dtype = self.transformer.dtype
        self.factor = int(pipeline.vae_scale_factor)
        self.multiple = 2 * self.factor
        self.area, self.longest = 1024**2, 8192
        self.autoencoder = self._autoencoder()
        self.channels = self.autoencoder.channels

    def _autoencoder(self) -> Autoencoder:
        return ScaledAutoencoder(self.vae, self.device)

    @property
    def token(self) -> int:
        """Pixels on a side of the square that an image token covers."""
        return self.multiple

    @property
    def distilled(self) -> str:
        """What to know of a model that was distilled for few steps, where that can be told."""
        return families.told(self._few_steps())

    def _few_steps(self) -> int | None:
        """How many, by the model's name, here or where it was first."""
        names = (self.identity, str(self.pipeline.config.get("_name_or_path", "")))
        known = (families.few_steps(self.family, name) for name in names)
        return next((steps for steps in known if steps is not None), None)

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """The noise levels that the pipeline takes, a shift by the picture's size included."""
        tokens = size[0] * size[1] // self.token**2
        levels, shift = self.levels(steps), self.shift(steps, tokens)
        return scheduler_grid(self.pipeline.scheduler, steps, tokens, levels, shift)

    def levels(self, steps: int) -> Sequence[float] | None:
        """The noise levels that the pipeline hands its scheduler, before any shift; None where it
        leaves them to it.
        """
        return np.linspace(1.0, 1 / steps, steps).tolist() if self.even else None

    def shift(self, steps: int, tokens: int) -> float | None:
        """The dynamic shift of the noise levels, where the scheduler's configuration is not asked;
        None where it is.
        """
        return None

    def told(self, x: Latent, sigma: float, conditioning: Conditioning) -> dict[str, Tensor]:
        """A forward begins: what of its prompts the network gets, a row for each row of `x`."""
        self.memo.told(sigma, conditioning, len(x))
        return {k: v.expand(len(x), *v.shape[1:]) for k, v in conditioning.tensors.items()}

    def steady(self) -> AbstractContextManager[None]:
        """The embeddings of prompt and time, and every block's modulation by them.

        A compiled block computes its own.
        """
        modules = [each for each in self.remembered() if not is_compiled(each[0])]
        return self.memo.remembering(modules)

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """Modules that see noise level and prompts alone, as (parent, name)."""
        return []

    def _rows(self, stream: Stream) -> mmdit.Rows:
        """Where a stream's tokens are in one of both: by default text comes first."""
        return mmdit.text_first(self.length, stream)

    def guidance(self, scale: float) -> Guidance:
        """Classifier-free guidance."""
        return ClassifierFree(scale)

    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, shifted and scaled as the model expects."""
        return self.autoencoder.encode(picture)

    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        return self.autoencoder.decode(latent)

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Channels, height and width of the latent of a (width, height) picture."""
        return self.channels, size[1] // self.factor, size[0] // self.factor


def scheduler_grid(
    scheduler: Any,
    steps: int,
    tokens: int,
    levels: Sequence[float] | None = None,
    shift: float | None = None,
) -> Grid:
    """The noise levels that a scheduler gives a picture of so many image tokens.

    They are read from a copy of it; a dynamic shift is `shift`, or else computed as diffusers'
    pipelines do. It shifts the given `levels`, or else those that it finds itself. Raises
    ModelError for a scheduler whose noise levels do not fall to 0.
    """
    scheduler = copy.deepcopy(scheduler)
    config = scheduler.config
    extra: dict[str, Any] = {}
    if steps == 1 and config.get("shift_terminal", None):
        return Grid((1.0, 0.0))  # a single level cannot be stretched to the last one, too
    if levels is not None and not config.get("use_flow_sigmas", None):
        extra["sigmas"] = np.asarray(levels)
    if config.get("use_dynamic_shifting", None):
        base, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.16)
        slope = (high - low) / (most - base)
        extra["mu"] = tokens * slope + (low - slope * base) if shift is None else shift
    scheduler.set_timesteps(steps, device="cpu", **extra)
    try:
        return Grid(tuple(scheduler.sigmas.double().tolist()))
    except ValueError as error:
        name = type(scheduler).__name__
        raise ModelError(f"the model's scheduler {name} cannot be used: {error}") from None


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Silence a library's logger for a while: what it warns of, we report ourselves."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class Memo:
    """The noise level and prompts of the running forward.

    Modules that see nothing else of it (the modulation of every block, a quarter of a small
    model's weights) need not run again while these stay, as they do over the iterations of stage I.
    """

    def __init__(self) -> None:
        self._now: tuple[float, Conditioning, int] | None = None

    def told(self, sigma: float, conditioning: Conditioning, rows: int) -> None:
        """A forward begins; the conditioning counts as the same if it is the same object."""
        now = self._now
        if now is None or (now[0], now[2]) != (sigma, rows) or now[1] is not conditioning:
            self._now = (sigma, conditioning, rows)

    @contextmanager
    def remembering(self, modules: Sequence[tuple[nn.Module, str]]) -> Iterator[None]:
        """Inside, children (parent, name) run once for each noise level and prompts."""
        inner = [(parent, name, getattr(parent, name)) for parent, name in modules]
        try:
            for parent, name, module in inner:
                setattr(parent, name, _Remembered(module, self))
            yield
        finally:
            self._now = None
            for parent, name, module in inner:
                setattr(parent, name, module)


class _Remembered(nn.Module):
    """A module with its last output."""

    def __init__(self, module: nn.Module, memo: Memo) -> None:
        super().__init__()
        self.module, self.memo = module, memo
        self.key: object = None

    def forward(self, *args: Any, **named: Any) -> Any:
        if self.key is None or self.key is not self.memo._now:
            self.key, self.output = self.memo._now, self.module(*args, **named)
        return self.output
