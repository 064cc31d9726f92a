"""DDIM on a rectified flow's network, through the exact change of variables (FTEdit, section 2.1).

A flow's latent `x = (1 - σ) image + σ noise` is, divided by `s(σ) = √((1 - σ)² + σ²)`, a latent
`z = √ᾱ image + √(1 - ᾱ) noise` of a variance-preserving path of the same signal-to-noise ratio:
`√ᾱ = (1 - σ) / s`, `√(1 - ᾱ) = σ / s`. The network's velocity gives its noise, `ε = x + (1 - σ) v`,
and DDIM's step (Song et al. 2021, arXiv 2010.02502, eq. 12 without noise) is

    image = (z - √(1 - ᾱ) ε) / √ᾱ        z' = √ᾱ' image + √(1 - ᾱ') ε

Sampling, that is Euler's step to the letter: between the same noise levels both draw the same
picture. Inverting it is not. Both put the known latent where the unknown noisier one belongs, but
DDIM's stands still as `z` and Euler's as `x`, and that is the mismatch which the paper compares.

At pure noise (√ᾱ = 0), where diffusion models have no level and flows begin, a predicted noise is
the latent itself and says nothing. There the network's image, `x - v`, takes its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from counterflow.flow import Step, Velocity
from counterflow.solvers.fixed_point import FixedPoint


@dataclass(frozen=True)
class DDIM(FixedPoint):
    """DDIM's step: towards the image it samples, towards the noise it inverts.

    Towards the noise the step is implicit, as Euler's is; `iterations` refine it by the fixed
    point in `z`, with `average` by the mean of the noises from `span[0]` to `span[1]`. 0 is
    DDIM inversion. Between pure noise and the image there must be a level: one step of it all
    has no DDIM inversion (ZeroDivisionError).
    """

    iterations: int = 0

    def step(
        self, velocity: Velocity, x: Tensor, state: None, step: Step, start: float, stop: float
    ) -> tuple[Tensor, None]:
        """One evaluation towards the image, I + 1 towards the noise."""
        if stop < start:
            v = velocity(x, step.at(start))
            noise = x + (1 - start) * v
            return (1 - stop) * (x - start * v) + stop * noise, None

        z = x * (scale(stop) / scale(start))  # the same variance-preserving latent, as at `stop`
        noises: list[Tensor] = []
        for i in range(self.iterations + 1):
            v = velocity(z, step.at(stop, i))
            noises.append((x - (1 - start) * (z - v)) / start if stop == 1 else z + (1 - stop) * v)
            z = _onward(x, noises[-1], start, stop)
        return _onward(x, self.stable(noises), start, stop), None


def _onward(x: Tensor, noise: Tensor, start: float, stop: float) -> Tensor:
    """The latent at `stop` whose image is the one that `x` has under this noise."""
    return (1 - stop) / (1 - start) * (x - start * noise) + stop * noise


def scale(sigma: float) -> float:
    """`s(σ)`: the flow's latents are so many times the variance-preserving path's."""
    return math.hypot(1 - sigma, sigma)
