"""Autoencoders of pictures: latents `[b, c, h, w]` in the units of the model, and back.

Pictures are `[b, 3, height, width]` in -1…1. What the encoder gives is scaled as its weights ask.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from counterflow.backbones.mmdit import pack, unpack
from counterflow.flow import Latent


@runtime_checkable
class Autoencoder(Protocol):
    """Pictures to latents in the model's units, and back."""

    channels: int
    """Of its latents."""

    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution."""
        ...

    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        ...


class ScaledAutoencoder:
    """An `AutoencoderKL` whose latents are shifted and scaled, `(z - shift) * scale`.

    It runs on `device`, wherever its weights are kept.
    """

    def __init__(self, vae: Any, device: torch.device) -> None:
        self.vae = vae.to(memory_format=torch.channels_last)  # a quarter faster, measured
        self.device, self.channels = device, int(vae.config.latent_channels)
        self.scale = float(vae.config.get("scaling_factor", None) or 1.0)
        self.shift = float(vae.config.get("shift_factor", None) or 0.0)

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, in the model's units."""
        picture = picture.to(self.device, self.vae.dtype)
        encoded = self.vae.encode(picture)  # of a deep autoencoder, no distribution
        latent = encoded.latent if "latent" in encoded else encoded.latent_dist.mode()
        return self.scaled(latent.float().contiguous())

    @torch.no_grad()
    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        latent = self.unscaled(latent).to(self.device, self.vae.dtype)
        return self.vae.decode(latent, return_dict=False)[0].float().contiguous()  # type: ignore[no-any-return]

    def scaled(self, latent: Latent) -> Latent:
        """The encoder's units to the model's."""
        return (latent - self.shift) * self.scale

    def unscaled(self, latent: Latent) -> Latent:
        """The model's units to the decoder's."""
        return latent / self.scale + self.shift


class PatchAutoencoder(ScaledAutoencoder):
    """An `AutoencoderKLFlux2`: each of the 4 cells of a 2×2 square has a mean and a spread of its
    own in each channel, those of a batch norm.
    """

    def __init__(self, vae: Any, device: torch.device, epsilon: float | None = None) -> None:
        super().__init__(vae, device)
        epsilon = float(vae.config.batch_norm_eps) if epsilon is None else epsilon
        self.mean = vae.bn.running_mean.float()
        self.spread = (vae.bn.running_var.float() + epsilon).sqrt()

    def scaled(self, latent: Latent) -> Latent:
        """The encoder's units to the model's."""
        mean, spread = self.mean.to(latent), self.spread.to(latent)
        return unpack((pack(latent) - mean) / spread, latent)

    def unscaled(self, latent: Latent) -> Latent:
        """The model's units to the decoder's."""
        mean, spread = self.mean.to(latent), self.spread.to(latent)
        return unpack(pack(latent) * spread + mean, latent)


class FrameAutoencoder:
    """An autoencoder of videos, for one frame; latents are `(z - mean) / spread` by channel."""

    def __init__(self, vae: Any, device: torch.device) -> None:
        self.vae, self.device, self.channels = vae, device, int(vae.config.z_dim)
        self.mean, self.spread = (
            torch.tensor(each).reshape(1, -1, 1, 1)
            for each in (vae.config.latents_mean, vae.config.latents_std)
        )

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, in the model's units."""
        picture = picture.to(self.device, self.vae.dtype)
        latent = self.vae.encode(picture[:, :, None]).latent_dist.mode()[:, :, 0].float()
        return (latent - self.mean.to(latent)) / self.spread.to(latent)  # type: ignore[no-any-return]

    @torch.no_grad()
    def decode(self, latent: Latent) -> Tensor:
        """The decoder's picture, unclipped."""
        latent = latent * self.spread.to(latent) + self.mean.to(latent)
        latent = latent.to(self.device, self.vae.dtype)
        return self.vae.decode(latent[:, :, None], return_dict=False)[0][:, :, 0].float()  # type: ignore[no-any-return]


class OpaqueAutoencoder(FrameAutoencoder):
    """One of pictures with transparency, for those without: what is see-through is not told."""

    def encode(self, picture: Tensor) -> Latent:
        """The mode of the encoder's distribution, in the model's units."""
        return super().encode(torch.cat([picture, torch.ones_like(picture[:, :1])], 1))

    def decode(self, latent: Latent) -> Tensor:
        """The decoder's colours, between -1 and 1."""
        return super().decode(latent)[:, :3]
