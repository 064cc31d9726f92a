"""What an image model is, whatever its architecture: a transformer with its text encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from counterflow.toybox.train import text

IMAGE_TOKENS = 64


def zero(*layers: nn.Linear) -> None:
    """Set weights and biases to 0."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class ImageModel(nn.Module):
    """A transformer with its text encoders; each architecture is a subclass."""

    kind: ClassVar[type[DiffusionPipeline]]
    """Its class in diffusers."""
    rows: ClassVar[int]
    """Of the text stream."""
    last_key: ClassVar[int]
    """Which of the keys in joint attention is T5's last token."""

    def __init__(self, transformer: Any, texts: text.Texts, attention: Any) -> None:
        super().__init__()
        self.transformer, self.texts = transformer, texts
        transformer.set_attn_processor(attention)

    @classmethod
    @abstractmethod
    def untrained(cls, captions: list[str], seed: int) -> ImageModel:
        """A new model, whose tokenizers know the captions."""

    @abstractmethod
    def predict(
        self,
        network: Callable[..., Any],
        x: Tensor,
        sigma: Tensor,
        features: Tensor,
        pooled: Tensor,
        bias: Tensor,
        guidance: Tensor,
    ) -> Tensor:
        """The velocity, `[n, 16, 16, 16]`; `bias` is added to attention's logits for each key."""

    @staticmethod
    @abstractmethod
    def built() -> Any:
        """An untrained transformer, with diffusers' own attention."""

    def pipeline(self, autoencoder: AutoencoderKL) -> DiffusionPipeline:
        """The parts as a pipeline of diffusers, with its own attention."""
        transformer = self.built()
        transformer.load_state_dict(self.transformer.state_dict())
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        parts = {"transformer": transformer, "scheduler": scheduler, "vae": autoencoder}
        for tokenizer, end in zip(self.texts.tokenizers, ("", "_2", "_3"), strict=False):
            parts[f"tokenizer{end}"] = tokenizer
            parts[f"text_encoder{end}"] = getattr(self.texts, f"encoder{end}")
        return self.kind(**parts)

    def learn_guidance(self) -> None:
        """From now on train what is told the guidance; until then it says nothing."""

    def velocity(
        self,
        network: Callable[..., Any],
        x: Tensor,
        sigma: Tensor,
        tokens: text.Tokens,
        pads: Tensor,
        pooled_rows: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """The velocity at latents `[n, 16, 16, 16]` with noise levels `[n]`.

        `network` is the transformer or its compiled form. T5's padding tokens are all equal, so the
        last one acts as `pads` of them, `[n]`. `pooled_rows` are the rows that pooled vectors are
        taken from, by default their own. Guidance `[n]` is 1 by default.
        """
        device = x.device
        features, pooled = self.texts(tokens)
        bias = torch.zeros(len(x), 1, 1, IMAGE_TOKENS + self.rows)
        padded = self.texts.padded(tokens)
        bias[..., self.last_key] = torch.where(padded, pads.log(), 0.0)[:, None, None]
        if pooled_rows is not None:
            pooled = pooled[pooled_rows.to(device)]
        guidance = torch.ones(len(x)) if guidance is None else guidance
        return self.predict(
            network, x, sigma, features, pooled, bias.to(device), guidance.to(device)
        )
