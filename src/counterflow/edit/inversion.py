"""An inverted picture, and what is made from it: edits and the source again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from textwrap import shorten
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow import images
from counterflow.backbones.base import Backbone, Conditioning
from counterflow.controls.align import Level, changed_words, text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control, Features, RowMap, attach
from counterflow.controls.blend import latent_mask
from counterflow.controls.text import TextControl
from counterflow.edit.branches import SourceBranch, TargetBranch
from counterflow.edit.run import Progress, Run
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError, NumericsError
from counterflow.flow import Branch, Field, Grid, Latent, Step, passes
from counterflow.inversion.trajectory import Trajectory


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
    unknown: tuple[str, ...] = ()
    """Words of the target prompt that the model never learned, where its folder tells."""


@dataclass(frozen=True)
class Reconstruction:
    """The source, made again from its noise."""

    image: Image.Image
    latent: Tensor = field(repr=False)
    latent_error: float
    """Largest absolute difference from the stored image latent."""
    forwards: int
    seconds: float


@dataclass
class Inversion:
    """A picture's trajectory through a model, from which any number of edits start."""

    backbone: Backbone = field(repr=False)
    negative: Conditioning = field(repr=False)
    """The unconditional prompt."""
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
        check_blocks(self.backbone, settings)
        live = self.settings.steps - settings.skip_steps
        run = Run(
            self.backbone, self.negative, "editing", live * passes(settings.guidance), progress
        )
        conditioning = embed(self.backbone, target)
        rows = text_map(
            self.conditioning.segments,
            conditioning.segments,
            conditioning.length,
            cast(Level, settings.text_level),
            (self.prompt, target),
        )
        try:
            x = self._run(run, conditioning, settings, rows, self._latent_mask(mask))
        except NumericsError:
            self.features.clear()  # they may be what is not finite
            self.residuals.clear()
            raise
        return Edit(
            to_picture(self.backbone, x, self.picture.size),
            x,
            target,
            settings,
            run.forwards,
            run.seconds,
            tuple(changed_words(self.prompt, target)),
            conditioning.cut,
            conditioning.unknown,
        )

    def reconstruct(
        self, compensate: bool = True, progress: Progress | None = None
    ) -> Reconstruction:
        """The source branch alone, guided as the inversion was: exact if compensated."""
        guidance = self.settings.guidance
        expected = self.settings.steps * passes(guidance)
        run = Run(self.backbone, self.negative, "reconstructing", expected, progress)
        velocity = run.field(self.conditioning, guidance)
        source = self._source(velocity, compensate, guidance, 0)
        for k in self.grid.toward_image():
            source.step(self._step(k, "source"), evaluate=True)
        assert source.landed is not None, "a grid has a step"
        error = self._error(source.landed)
        if compensate:
            self.latent_error = error
        picture = to_picture(self.backbone, source.landed, self.picture.size)
        return Reconstruction(picture, source.landed, error, run.forwards, run.seconds)

    def check(self, progress: Progress | None = None) -> None:
        """Measure `residuals` and `latent_error` where no edit has, by a reconstruction."""
        if self.latent_error is None or len(self.residuals) < self.settings.steps:
            self.check_forwards += self.reconstruct(progress=progress).forwards

    def _run(
        self,
        run: Run,
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
        with attach(self.backbone, controls, features) as session:
            velocity = run.field(self.conditioning, guidance, session.on)
            source = self._source(velocity, compensated, guidance, settings.skip_steps)
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
                run.expect(evaluate * passes(guidance))
                eps = source.step(step, evaluate)
                target.step(step.on("target"), eps if settings.compensate == "both" else None)
                features.end_step()
        if compensated and evaluated == self.settings.steps and source.landed is not None:
            self.latent_error = self._error(source.landed)
        return target.x

    def _source(
        self, velocity: Field, compensated: bool, guidance: float, start: int
    ) -> SourceBranch:
        # Only at the inversion's own guidance is the compensation the inversion's residual.
        residuals = self.residuals if guidance == self.settings.guidance else {}
        return SourceBranch(
            self.trajectory, velocity, compensated, self.trajectory[start], residuals
        )

    def _step(self, k: int, branch: Branch) -> Step:
        return Step(k, self.grid.steps, self.grid[k], branch, "edit")

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
        cells = latent_mask(torch.from_numpy(mask.astype(bool)), rows, columns)
        return cells.to(self.trajectory.latents.device)


def embed(backbone: Backbone, prompt: str) -> Conditioning:
    """Embed a prompt; warns (UserWarning) of words that are cut off or that no training had."""
    conditioning = backbone.embed(prompt)
    for tokenizer, rest in conditioning.cut.items():
        words = f"the prompt {shorten(prompt, 40)!r} is too long for {tokenizer}"
        warnings.warn(f"{words}; not seen: {shorten(rest, 200)!r}", stacklevel=3)
    if conditioning.unknown:
        words = ", ".join(map(repr, conditioning.unknown))
        warnings.warn(f"the model never learned {shorten(words, 200)}", stacklevel=3)
    return conditioning


def check_blocks(backbone: Backbone, settings: EditSettings) -> None:
    """Refuse blocks that the model lacks."""
    wanted = {*(settings.text_blocks or ()), *(settings.attention_blocks or ())}
    if wanted:
        blocks = 1 + max(site.block for site in backbone.sites())
        if max(wanted) >= blocks:
            raise InputError(f"this model has blocks 0 to {blocks - 1}, not {max(wanted)}")


def to_picture(backbone: Backbone, latent: Latent, size: tuple[int, int]) -> Image.Image:
    """Decode a latent to a picture of (width, height)."""
    pixels = backbone.decode(latent)[0].cpu().numpy()
    return images.resize(images.from_array(pixels), size)
