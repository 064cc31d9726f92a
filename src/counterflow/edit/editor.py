"""Invert a picture once; edit it to any number of targets.

editor = Editor.load("toybox")
inversion = editor.invert(picture, "a red cat on the grass")
inversion.edit("a blue cat on the grass").image.save("blue.png")
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow import images
from counterflow.backbones.base import Backbone, Conditioning, field_of
from counterflow.controls.align import changed_words, text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control, Features, RowMap, attach
from counterflow.controls.blend import latent_mask
from counterflow.controls.text import TextControl
from counterflow.edit.branches import SourceBranch, TargetBranch
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError
from counterflow.flow import Counter, Field, Grid, Latent, Step, guided
from counterflow.inversion import trajectory as loop
from counterflow.inversion.solvers import Euler, FixedPoint
from counterflow.inversion.trajectory import Trajectory

Progress = Callable[[str, int, int], None]
"""Called after each forward with what is running, forwards made, and forwards expected."""


@dataclass(frozen=True)
class Edit:
    """An edited picture and what it cost."""

    image: Image.Image
    """At the source picture's size."""
    latent: Tensor = field(repr=False)
    target: str
    settings: EditSettings
    forwards: int
    seconds: float
    changed: tuple[tuple[int, int], ...]
    """Character spans of the target prompt's words that the source prompt lacks."""
    cut: dict[str, str]
    """By tokenizer, the end of the target prompt that did not fit."""


@dataclass(frozen=True)
class Reconstruction:
    """The source, made again from its noise."""

    image: Image.Image
    latent: Tensor = field(repr=False)
    latent_error: float
    """Largest absolute difference from the stored image latent."""
    forwards: int
    seconds: float


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
        picture = images.load(image) if isinstance(image, str | Path) else image.convert("RGB")
        size = images.fit(picture.size, self.backbone.area, self.backbone.multiple)
        pixels = torch.from_numpy(images.to_array(picture, size))[None]
        run = _Run(
            self,
            "inverting",
            settings.steps * (settings.iterations + 1) * (1 if settings.guidance == 1 else 2),
            progress,
        )
        conditioning = self.backbone.embed(prompt)
        grid = self.backbone.grid(settings.steps, size)
        solver = FixedPoint(settings.iterations, settings.average, settings.window)
        latent = self.backbone.encode(pixels)
        stored = loop.invert(solver, run.field(conditioning, settings.guidance), latent, grid)
        return Inversion(
            self, picture, size, prompt, conditioning, stored, settings, run.forwards, run.seconds
        )

    def generate(
        self,
        prompt: str,
        steps: int = 28,
        guidance: float = 3.0,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> tuple[Image.Image, Trajectory]:
        """Generate a (width, height) picture, as the model's own pipeline would from this seed."""
        side = round(self.backbone.area**0.5)
        size = size or (side, side)
        if any(s < 1 or s % self.backbone.multiple for s in size):
            raise InputError(
                f"width and height are multiples of {self.backbone.multiple}, not {size}"
            )
        run = _Run(self, "generating", steps * (1 if guidance == 1 else 2), progress)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, *self.backbone.latent_shape(size), generator=generator)
        velocity = run.field(self.backbone.embed(prompt), guidance)
        made = loop.generate(
            Euler(), velocity, noise.to(self.backbone.device), self.backbone.grid(steps, size)
        )
        return self.picture(made[-1], size), made

    def picture(self, latent: Latent, size: tuple[int, int]) -> Image.Image:
        """Decode a latent to a picture of (width, height)."""
        pixels = self.backbone.decode(latent)[0].cpu().numpy()
        return images.resize(images.from_array(pixels), size)


@dataclass
class Inversion:
    """A picture's trajectory through a model, from which any number of edits start."""

    editor: Editor = field(repr=False)
    picture: Image.Image = field(repr=False)
    size: tuple[int, int]
    """Width and height at which the model works."""
    prompt: str
    conditioning: Conditioning = field(repr=False)
    trajectory: Trajectory = field(repr=False)
    settings: InvertSettings
    forwards: int
    seconds: float
    features: Features = field(default_factory=Features, repr=False)
    residuals: dict[int, float] = field(default_factory=dict, repr=False)
    """By step, the relative fixed-point residual `‖eps‖ / ‖v‖`, where the source was evaluated."""
    latent_error: float | None = None
    """Largest difference of the compensated source branch from the stored latent, once run."""
    check_forwards: int = 0
    """Forwards that only `check` made."""

    @property
    def residual(self) -> float | None:
        """Mean of the residuals known so far."""
        known = self.residuals.values()
        return sum(known) / len(known) if known else None

    @property
    def grid(self) -> Grid:
        """The noise levels that were inverted on."""
        return self.trajectory.grid

    def edit(
        self,
        target: str,
        settings: EditSettings | None = None,
        mask: np.ndarray | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Edit:
        """Make the picture that the target prompt describes.

        `options` override fields of `settings`. `mask` is bool `[height, width]` at the picture's
        size; outside it the latents are the source's own. The source branch is evaluated only
        where its features are not known from an earlier edit of this inversion.
        """
        settings = replace(settings or EditSettings(), **options)
        settings.check(self.settings.steps)
        self._check_blocks(settings)
        conditioning = self.editor.backbone.embed(target)
        rows = text_map(
            self.conditioning.segments,
            conditioning.segments,
            conditioning.length,
            settings.text_level,
            (self.prompt, target),
        )
        live = self.settings.steps - settings.skip_steps
        passes = 1 if settings.guidance == 1 else 2
        run = _Run(self.editor, "editing", live * passes, progress)
        x = self._run(run, conditioning, settings, rows, self._latent_mask(mask))
        return Edit(
            self.editor.picture(x, self.picture.size),
            x,
            target,
            settings,
            run.forwards,
            run.seconds,
            tuple(changed_words(self.prompt, target)),
            conditioning.cut,
        )

    def reconstruct(
        self, compensate: bool = True, progress: Progress | None = None
    ) -> Reconstruction:
        """The source branch alone, at guidance 1: exact with compensation, not without."""
        run = _Run(self.editor, "reconstructing", self.settings.steps, progress)
        source = self._source(run.field(self.conditioning, 1), compensate, 0)
        for k in self.grid.toward_image():
            source.step(self._step(k, "source"), evaluate=True)
        error = self._error(source.x)
        if compensate:
            self.latent_error = error
        picture = self.editor.picture(source.x, self.picture.size)
        return Reconstruction(picture, source.x, error, run.forwards, run.seconds)

    def check(self, progress: Progress | None = None) -> None:
        """Measure `residuals` and `latent_error` where no edit has, by a reconstruction."""
        if self.latent_error is None:
            self.check_forwards += self.reconstruct(progress=progress).forwards

    def _run(
        self,
        run: _Run,
        conditioning: Conditioning,
        settings: EditSettings,
        rows: RowMap,
        mask: Tensor | None,
    ) -> Latent:
        """Both branches, step by step; returns the target's last latent."""
        controls: list[Control] = [
            TextControl(settings.text_ratio, settings.text_blocks),
            AttentionControl(
                settings.attention_ratio,
                settings.attention_parts,
                settings.attention_tokens,
                settings.attention_blocks,
            ),
        ]
        compensated = settings.compensate != "none"
        # A compensated source needs no unconditional pass, unless its compensation is used too.
        guidance = 1 if settings.compensate == "source" else settings.guidance
        features = self.features if compensated else Features(budget=0)
        with attach(self.editor.backbone, controls, features) as session:
            source = self._source(
                run.field(self.conditioning, guidance, session.on), compensated, settings.skip_steps
            )
            target = TargetBranch(
                self.trajectory,
                run.field(conditioning, settings.guidance, lambda f: session.on(f, rows)),
                self.trajectory[settings.skip_steps],
                mask,
            )
            evaluated = 0
            for k in self.grid.toward_image(settings.skip_steps):
                step = self._step(k, "source")
                evaluate = settings.compensate != "source" or session.lacks_source(step)
                evaluated += evaluate
                run.expect(evaluate * (1 if guidance == 1 else 2))
                eps = source.step(step, evaluate)
                target.step(step.on("target"), eps if settings.compensate == "both" else None)
                features.end_step()
        if compensated and evaluated == self.settings.steps:
            self.latent_error = self._error(source.x)
        return target.x

    def _source(self, velocity: Field, compensated: bool, start: int) -> SourceBranch:
        return SourceBranch(
            self.trajectory, velocity, compensated, self.trajectory[start], self.residuals
        )

    def _step(self, k: int, branch: str) -> Step:
        return Step(k, self.grid.steps, self.grid[k], branch, "edit")  # type: ignore[arg-type]

    def _error(self, x: Latent) -> float:
        return (x - self.trajectory[-1]).abs().max().item()

    def _latent_mask(self, mask: np.ndarray | None) -> Tensor | None:
        if mask is None:
            return None
        height, width = self.picture.height, self.picture.width
        if mask.shape != (height, width):
            raise InputError(
                f"the mask is {mask.shape[::-1]} pixels, the picture {(width, height)}; "
                "draw it at the picture's size"
            )
        rows, columns = self.trajectory.latents.shape[-2:]
        grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(self.size, Image.Resampling.BOX)
        inside = torch.from_numpy(np.array(grey)) > 0
        return latent_mask(inside, rows, columns).to(self.trajectory.latents.device)

    def _check_blocks(self, settings: EditSettings) -> None:
        wanted = {*(settings.text_blocks or ()), *(settings.attention_blocks or ())}
        if wanted:
            blocks = 1 + max(site.block for site in self.editor.backbone.sites())
            if max(wanted) >= blocks:
                raise InputError(f"this model has blocks 0 to {blocks - 1}, not {max(wanted)}")


class _Run:
    """Counts, times and reports the forwards of one operation."""

    def __init__(
        self, editor: Editor, label: str, expected: int, progress: Progress | None
    ) -> None:
        self.editor, self.label, self.expected, self.progress = editor, label, expected, progress
        self.counter = Counter()
        self.began = time.perf_counter()

    @property
    def forwards(self) -> int:
        return self.counter.forwards

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def expect(self, more: int) -> None:
        """Raise the number of forwards that the progress counts towards."""
        self.expected += more

    def field(
        self,
        conditioning: Conditioning,
        guidance: float,
        wrap: Callable[[Field], Field] = lambda f: f,
    ) -> Field:
        """The guided velocity of a conditioning; `wrap` goes around the conditional pass alone."""
        backbone = self.editor.backbone
        return guided(
            wrap(self._watched(field_of(backbone, conditioning))),
            self._watched(field_of(backbone, self.editor.negative)),
            guidance,
        )

    def _watched(self, velocity: Field) -> Field:
        counted = self.counter(velocity)

        def watched(x: Tensor, step: Step) -> Tensor:
            out = counted(x, step)
            if self.progress is not None:
                self.progress(self.label, self.forwards, self.expected)
            return out

        return watched
