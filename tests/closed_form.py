"""Flows without a network, whose velocities are known: a linear one, and a mixture of Gaussians.

Prompts are words of a flow's own table; everything that a method asks of a backbone is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from counterflow.backbones.base import ATTENTION, ClassifierFree, Conditioning, Guidance, Site
from counterflow.controls.rows import RowMap
from counterflow.flow import Grid, Latent
from counterflow.methods.base import Method, edit
from counterflow.methods.run import Run
from counterflow.solvers.trajectory import Trajectory

SHAPE = (2, 3, 4)


def field_of(seed: int) -> Tensor:
    """A latent that is not constant, the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *SHAPE, generator=generator, dtype=torch.float64)


@dataclass
class ClosedForm:
    """A backbone whose velocity is `law(x, sigma, row of a prompt's table)`, in float64."""

    table: dict[str, Tensor]
    """By prompt, what the law takes: one row `[1, ...]`; `""` is the negative prompt."""
    law: Callable[[Tensor, float, Tensor], Tensor]
    asked: list[tuple[int, float]] = field(default_factory=list)
    """Rows and noise level of each forward."""
    family = "closed form"
    identity = "closed form"
    multiple, token, area, longest = 8, 8, 32 * 24, 64
    distilled = ""
    device, dtype = torch.device("cpu"), torch.float64

    def __post_init__(self) -> None:
        self._modules = [nn.Identity() for _ in ATTENTION]

    def embed(self, prompt: str) -> Conditioning:
        return Conditioning(prompt, {"row": self.table[prompt]}, (), 0)

    def grid(self, steps: int, size: tuple[int, int] = (32, 24)) -> Grid:
        return Grid.uniform(steps)

    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        self.asked.append((len(x), sigma))
        return self.law(x, sigma, conditioning.tensors["row"])

    def steady(self) -> AbstractContextManager[None]:
        return nullcontext()

    def guidance(self, scale: float) -> Guidance:
        return ClassifierFree(scale)

    def encode(self, picture: Tensor) -> Latent:
        raise NotImplementedError

    def decode(self, latent: Latent) -> Tensor:
        raise NotImplementedError

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return SHAPE

    def sites(self) -> Sequence[Site]:
        """One block with its parts, through which nothing ever passes."""
        pairs = zip(ATTENTION, self._modules, strict=True)
        return [Site("image", part, 0, module) for part, module in pairs]

    def blocks(self) -> Sequence[object]:
        """None that could be left out."""
        return []


def linear(rates: dict[str, tuple[float, float]]) -> ClosedForm:
    """`v = a x + b` with each prompt's `(a, b)`, which are scaled over the places of the latent."""
    places = 1 + 0.3 * torch.tanh(field_of(0))
    rows = {p: torch.stack([a * places, b * places.flip(-1)], 1) for p, (a, b) in rates.items()}
    return ClosedForm(rows, lambda x, s, row: row[:, 0] * x + row[:, 1])


def linear_path(flow: ClosedForm, x: Tensor, prompt: str, start: float, stop: float) -> Tensor:
    """Where the linear flow leads from a noise level to another."""
    a, b = flow.table[prompt].unbind(1)
    grown = torch.exp(a * (stop - start))
    return grown * x + (grown - 1) * b / a


def mixture(means: dict[str, Sequence[Tensor]], width: float = 0.4) -> ClosedForm:
    """`v = E[noise - image | x]`, with images from a prompt's means, each a Gaussian this wide."""

    def law(x: Tensor, s: float, row: Tensor) -> Tensor:
        spread = ((1 - s) * width) ** 2 + s**2
        rest = x[:, None] - (1 - s) * row
        weights = torch.softmax(-rest.square().flatten(2).sum(2) / (2 * spread), 1)
        slope = (s - (1 - s) * width**2) / spread  # of E[noise - image] along the rest
        each = slope * rest - row
        return (weights.reshape(*weights.shape, 1, 1, 1) * each).sum(1)

    return ClosedForm({p: torch.stack(list(m), 1) for p, m in means.items()}, law)


def run_of(
    flow: ClosedForm,
    image: Tensor,
    how: Method,
    source: str = "source",
    targets: Sequence[str] = (),
    grid: Grid | None = None,
    seed: int = 0,
    mask: Tensor | None = None,
) -> Run:
    """What a method sees."""
    prompts = [flow.embed(target) for target in targets]
    return Run(
        flow,
        image,
        grid or how.grid(flow, (32, 24)),
        flow.embed(source),
        flow.embed(""),
        prompts,
        [RowMap(())] * len(prompts),
        seed=seed,
        mask=mask,
    )


def edited(
    flow: ClosedForm,
    image: Tensor,
    how: Method,
    source: str = "source",
    target: str = "target",
    **options: object,
) -> tuple[Tensor, Trajectory | None]:
    """The edit's last latent, and the source's trajectory."""
    known = how.invert(run_of(flow, image, how, source, (), **options))
    run = run_of(flow, image, how, source, [target], **options)
    return edit(how, run, known)[-1], known


def slope(errors: dict[int, float]) -> float:
    """The order of convergence: of log error against log of the number of steps, negative."""
    x = torch.tensor([math.log(n) for n in errors])
    y = torch.tensor([math.log(e) for e in errors.values()])
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / (x * x).sum())
