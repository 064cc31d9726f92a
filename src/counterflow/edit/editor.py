"""Invert a picture once; edit it to any number of targets.

editor = Editor.load("toybox")
inversion = editor.invert(picture, "a red cat on the grass")
inversion.edit("a blue cat on the grass").image.save("blue.png")
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from counterflow import images
from counterflow.backbones.base import Backbone
from counterflow.edit.inversion import Inversion
from counterflow.edit.pictures import to_picture
from counterflow.edit.prompting import check_blocks, embed
from counterflow.edit.result import Edit, Reconstruction
from counterflow.edit.run import Progress, Run
from counterflow.edit.settings import EditSettings, InvertSettings, check_generate
from counterflow.errors import InputError
from counterflow.flow import Latent, passes
from counterflow.inversion import trajectory as loop
from counterflow.inversion.ddim import DDIM
from counterflow.inversion.solvers import Euler, FixedPoint
from counterflow.inversion.trajectory import Trajectory

__all__ = ["Edit", "EditSettings", "Editor", "Inversion", "InvertSettings", "Reconstruction"]


class Editor:
    """A backbone with the operations on it."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.negative = backbone.embed("")

    @classmethod
    def load(
        cls, model: str = "toybox", device: str | None = None, dtype: str | None = None
    ) -> Editor:
        """Load a model by name, folder or repository; see `load_backbone`."""
        from counterflow.backbones.registry import load_backbone

        return cls(load_backbone(model, device, dtype))

    def check(self, settings: EditSettings) -> None:
        """Refuse, with InputError, what this model cannot do, before any work is done."""
        check_blocks(self.backbone, settings)

    def invert(
        self,
        image: Image.Image | str | Path,
        prompt: str,
        settings: InvertSettings | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Inversion:
        """Find the noise that the model would make this picture from (stage I).

        `options` override fields of `settings`. The picture is worked on at a size that the
        model can take and about the area that it was made for; results have its own size.
        """
        settings = replace(settings or InvertSettings(), **options)
        picture = images.load(image) if isinstance(image, str | Path) else images.normalise(image)
        size = images.fit(picture.size, self.backbone.area, self.backbone.multiple)
        pixels = torch.from_numpy(images.to_array(picture, size))[None]
        expected = settings.steps * (settings.iterations + 1) * passes(settings.guidance)
        run = Run(self.backbone, self.negative, "inverting", expected, progress)
        conditioning = embed(self.backbone, prompt)
        grid = self.backbone.grid(settings.steps, size)
        rule = DDIM if settings.solver == "ddim" else FixedPoint
        solver = rule(settings.iterations, settings.average, settings.window)
        latent = self.backbone.encode(pixels)
        stored = loop.invert(solver, run.field(conditioning, settings.guidance), latent, grid)
        return Inversion(
            self.backbone,
            self.negative,
            picture,
            size,
            prompt,
            conditioning,
            stored,
            settings,
            run.forwards,
            run.seconds,
        )

    def generate(
        self,
        prompt: str,
        steps: int = 28,
        guidance: float = 3.0,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        progress: Progress | None = None,
        solver: str = "euler",
    ) -> tuple[Image.Image, Trajectory]:
        """Generate a (width, height) picture, and its trajectory.

        By Euler this is the model's own pipeline from a CPU generator of this seed, called with
        `max_sequence_length` as the adapter has it (its tokenizer's limit, at most 256). DDIM
        (`solver="ddim"`) between the same noise levels is equal to it but for rounding.
        """
        size = size or self.square
        check_generate(steps, guidance, seed, *size, solver)
        multiple, longest = self.backbone.multiple, self.backbone.longest
        if any(s % multiple or s > longest for s in size):
            raise InputError(
                f"width and height are multiples of {multiple} up to {longest}, not {size}"
            )
        expected = steps * passes(guidance)
        run = Run(self.backbone, self.negative, "generating", expected, progress)
        velocity = run.field(embed(self.backbone, prompt), guidance)
        rule = DDIM() if solver == "ddim" else Euler()
        grid = self.backbone.grid(steps, size)
        made = loop.generate(rule, velocity, self.noise(seed, size), grid)
        return self.picture(made[-1], size), made

    @property
    def square(self) -> tuple[int, int]:
        """The size that the model was made for, as a square."""
        side = round(self.backbone.area**0.5)
        return side, side

    def noise(self, seed: int, size: tuple[int, int]) -> Latent:
        """The noise that a seed begins a picture of (width, height) with, `[1, c, h, w]`."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.backbone.latent_shape(size)
        return torch.randn(1, *shape, generator=generator).to(self.backbone.device)

    def from_trajectory(
        self, picture: Image.Image, prompt: str, trajectory: Trajectory
    ) -> Inversion:
        """A generated picture, ready to be edited: its trajectory is known, nothing is inverted.

        The source branch follows it by velocity compensation, whatever guidance it was made with.
        """
        settings = InvertSettings(steps=trajectory.grid.steps, iterations=0)
        return Inversion.known(
            self.backbone, self.negative, picture, picture.size, prompt, trajectory, settings
        )

    def picture(self, latent: Latent, size: tuple[int, int]) -> Image.Image:
        """Decode a latent to a picture of (width, height)."""
        return to_picture(self.backbone, latent, size)
