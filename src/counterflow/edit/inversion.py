"""An inverted picture, and what is made from it: edits and the source again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from counterflow.backbones.base import Backbone, Conditioning, stacked
from counterflow.controls.align import changed_words
from counterflow.controls.base import Features, RowMap, Session, attach
from counterflow.edit import pictures, prompting, store
from counterflow.edit.automask import auto_mask
from counterflow.edit.branches import SourceBranch, TargetBranch, controls_of
from counterflow.edit.result import Edit, Reconstruction
from counterflow.edit.run import Progress, Run
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError, NumericsError
from counterflow.flow import Branch, Field, Grid, Latent, Step, passes
from counterflow.inversion.trajectory import Trajectory


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
    mask_forwards: int = 0
    """Forwards that `auto_mask` made."""

    @classmethod
    def known(
        cls,
        backbone: Backbone,
        negative: Conditioning,
        picture: Image.Image,
        size: tuple[int, int],
        prompt: str,
        trajectory: Trajectory,
        settings: InvertSettings,
    ) -> Inversion:
        """A picture whose trajectory is known already: nothing was inverted."""
        conditioning = prompting.embed(backbone, prompt)
        return cls(
            backbone, negative, picture, size, prompt, conditioning, trajectory, settings, 0, 0.0
        )

    @property
    def residual(self) -> float | None:
        """Mean of the residuals known so far."""
        known = self.residuals.values()
        return sum(known) / len(known) if known else None

    @property
    def grid(self) -> Grid:
        """The noise levels that were inverted on."""
        return self.trajectory.grid

    def edit(self, target: str, *args: Any, **options: Any) -> Edit:
        """Make the picture that the target prompt describes; takes what `edit_batch` takes."""
        return self.edit_batch([target], *args, **options)[0]

    def edit_batch(
        self,
        targets: Sequence[str],
        settings: EditSettings | None = None,
        mask: np.ndarray | None = None,
        progress: Progress | None = None,
        noise: Latent | None = None,
        **options: Any,
    ) -> list[Edit]:
        """Make the pictures that the target prompts describe, all in one batch.

        `options` override fields of `settings`. `mask` is bool `[height, width]` at the picture's
        size; outside it the latents are the source's own, and the pixels those of the source's
        round trip through the autoencoder, or the picture's own with `exact_background`. `noise`
        `[1, c, h, w]` starts the targets elsewhere than the source: another scene, to which the
        text control alone carries the source's subject. The source branch is evaluated only where
        its features are not known from an earlier edit of this inversion.
        """
        settings = replace(settings or EditSettings(), **options)
        self._check(targets, settings, noise)
        opened = None if mask is None else pictures.cells(mask, self.picture.size, self.trajectory)
        own = (self.settings.steps - settings.skip_steps) * passes(settings.guidance)
        run = Run(self.backbone, self.negative, "editing", len(targets) * own, progress)
        prompts = [prompting.embed(self.backbone, target) for target in targets]
        rows = [prompting.row_map(self.conditioning, p, settings.text_level) for p in prompts]
        start = self.trajectory[settings.skip_steps] if noise is None else noise
        try:
            made = self._run(
                run, stacked(prompts), settings, rows, opened, start.repeat(len(rows), 1, 1, 1)
            )
        except NumericsError:
            self.features.clear()  # they may be what is not finite
            self.residuals.clear()
            raise
        images = [self._picture(t[-1], mask, settings) for t in made]
        shared = run.forwards - len(targets) * own
        return [
            Edit(
                image,
                trajectory,
                prompt.prompt,
                settings,
                own + shared * (n == 0),
                run.seconds / len(targets),
                tuple(changed_words(self.prompt, prompt.prompt)),
                prompt.cut,
                prompt.unknown,
            )
            for n, (image, trajectory, prompt) in enumerate(zip(images, made, prompts, strict=True))
        ]

    def after(self, edit: Edit) -> Inversion:
        """The next turn: an edit of this inversion as the source, on the way that it took.

        Nothing is inverted. The edit was guided and controlled, this source branch is not; what
        it lacks, velocity compensation adds, so it too is exact.
        """
        turn = Inversion.known(
            self.backbone,
            self.negative,
            edit.image,
            self.size,
            edit.target,
            edit.trajectory,
            self.settings,
        )
        turn.round_trip = edit.image  # it came out of the autoencoder, and masks hold in it
        return turn

    def auto_mask(
        self,
        target: str,
        share: float = 0.15,
        looks: int = 6,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """A bool mask `[height, width]` of where the target prompt wants another picture.

        For two forwards at each of `looks` latents of the trajectory; `share` is the threshold of
        `counterflow.controls.blend.difference_mask`: lower is larger.
        """
        return auto_mask(self, target, share, looks, progress)

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
        picture = pictures.to_picture(self.backbone, source.landed, self.picture.size)
        return Reconstruction(picture, source.landed, error, run.forwards, run.seconds)

    def check(self, progress: Progress | None = None) -> None:
        """Measure `residuals` and `latent_error` where no edit has, by a reconstruction."""
        if self.latent_error is None or len(self.residuals) < self.settings.steps:
            self.check_forwards += self.reconstruct(progress=progress).forwards

    def save(self, path: str | Path, half: bool = False) -> None:
        """Write a safetensors file that `load` reads; `half` the size in half precision.

        Compensation is exact for what is stored, whatever its precision.
        """
        store.write(
            path,
            store.Stored(
                self.backbone.identity,
                self.prompt,
                self.size,
                self.trajectory,
                self.settings,
                self.forwards,
                self.seconds,
                self.picture,
            ),
            half,
        )

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone) -> Inversion:
        """Read an inversion for the model that made it, wherever that lies now.

        Raises InputError for a file that is none, ModelError for another model's.
        """
        stored = store.read(path)
        store.check_model(stored, path, backbone)
        return cls(
            backbone,
            backbone.embed(""),
            stored.picture,
            stored.size,
            stored.prompt,
            prompting.embed(backbone, stored.prompt),
            Trajectory(stored.trajectory.latents.to(backbone.device), stored.trajectory.grid),
            stored.settings,
            stored.forwards,
            stored.seconds,
        )

    def _check(self, targets: Sequence[str], settings: EditSettings, noise: Latent | None) -> None:
        settings.check(self.settings.steps)
        prompting.check_blocks(self.backbone, settings)
        for target in targets:
            settings.check_words(self.prompt, target)
        if not targets:
            raise InputError("an edit needs a target")
        if noise is not None and settings.skip_steps:
            raise InputError("a target from other noise begins at step 0: leave skip_steps at 0")

    def _run(
        self,
        run: Run,
        conditioning: Conditioning,
        settings: EditSettings,
        rows: Sequence[RowMap],
        mask: Tensor | None,
        start: Latent,
    ) -> list[Trajectory]:
        """Both branches, step by step; returns the targets' ways."""
        compensated = settings.compensate != "none"
        controls = controls_of(settings)
        # A compensated source needs no unconditional pass, unless its compensation is used too.
        guidance = 1 if settings.compensate == "source" else settings.guidance
        features = self.features if compensated else Features(budget=0)
        with attach(self.backbone, controls, features) as session:
            velocity = run.field(self.conditioning, guidance, session.on)
            source = self._source(velocity, compensated, guidance, settings.skip_steps)
            target = TargetBranch(
                self.trajectory,
                run.field(conditioning, settings.guidance, lambda f: session.on(f, rows)),
                start,
                mask,
            )
            evaluated = 0
            for k in self.grid.toward_image(settings.skip_steps):
                step = self._step(k, "source")
                evaluate = self._evaluated(session, settings, step)
                evaluated += evaluate
                run.expect(evaluate * passes(guidance))
                eps = source.step(step, evaluate)
                target.step(step.on("target"), eps if settings.compensate == "both" else None)
                features.end_step()
        if compensated and evaluated == self.settings.steps and source.landed is not None:
            self.latent_error = self._error(source.landed)
        return target.trajectories()

    def _evaluated(self, session: Session, settings: EditSettings, step: Step) -> bool:
        """Whether the source's velocity is needed at a step.

        For its features, for the compensation of both branches, or, drifting, for features later.
        """
        if settings.compensate == "source":
            return session.lacks_source(step)
        later = (self._step(k, "source") for k in range(step.index, self.settings.steps))
        return settings.compensate == "both" or any(map(session.lacks_source, later))

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

    def _picture(
        self, latent: Latent, mask: np.ndarray | None, settings: EditSettings
    ) -> Image.Image:
        made = pictures.to_picture(self.backbone, latent, self.picture.size)
        if mask is None:
            return made
        if settings.exact_background:
            return pictures.composite(made, self.picture, mask)
        return pictures.composite(made, self.round_trip, mask)

    @cached_property
    def round_trip(self) -> Image.Image:
        """The picture through the autoencoder and back."""
        return pictures.to_picture(self.backbone, self.trajectory[-1], self.picture.size)
