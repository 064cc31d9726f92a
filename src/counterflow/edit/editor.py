"""Invert a picture once; edit it to any number of targets, by any method.

editor = Editor.load("toybox")
inversion = editor.invert(picture, "a red cat on the grass")
editor.edit(inversion, "a blue cat on the grass").image.save("blue.png")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from counterflow import images
from counterflow.backbones.base import Conditioning
from counterflow.controls.features import Features
from counterflow.edit import masks, pictures, store
from counterflow.edit.checks import check_mask, check_seed, chosen, fitting
from counterflow.edit.generator import Generator
from counterflow.edit.inversion import Inversion
from counterflow.edit.memory import frugal
from counterflow.edit.origin import origin_of
from counterflow.edit.result import Edit, Reconstruction, edits
from counterflow.errors import InputError, NumericsError
from counterflow.flow import Latent, Watch
from counterflow.methods import base
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.progress import Progress
from counterflow.solvers import trajectory as loops
from counterflow.solvers.trajectory import Trajectory

__all__ = ["Edit", "Editor", "Inversion", "Reconstruction"]


class Editor(Generator):
    """A model with the operations on pictures: invert, edit, reconstruct."""

    @frugal
    def invert(
        self,
        image: Image.Image | str | Path,
        prompt: str,
        method: Method | str = "ftedit",
        progress: Progress | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Inversion:
        """Make a picture ready to be edited by a method: most of them find its noise.

        The paper's unless told, where the command `edit` takes `paired`; `settings` override its.
        `seed` is for inversions that draw noise. The picture is worked on at a size that the model
        can take and about the area that it was made for; results have its own size.
        """
        how = chosen(method, settings)
        how.check_model(self.backbone)
        picture = images.load(image) if isinstance(image, str | Path) else images.normalise(image)
        size = images.fit(picture.size, self.backbone.area, self.backbone.multiple)
        latent = self.encoded(picture, size)
        inversion = self._invert(picture, size, prompt, latent, how, progress, seed=seed)
        path = Path(image) if isinstance(image, str | Path) else None
        inversion.origin = origin_of(path, picture, seed)
        return inversion

    def edit(
        self,
        inversion: Inversion,
        target: str,
        method: Method | str | None = None,
        **options: Any,
    ) -> Edit:
        """Make the picture that the target prompt describes; takes what `edit_batch` takes."""
        return self.edit_batch(inversion, [target], method, **options)[0]

    @frugal
    def edit_batch(
        self,
        inversion: Inversion,
        targets: Sequence[str],
        method: Method | str | None = None,
        mask: np.ndarray | None = None,
        exact_background: bool = False,
        noise: Latent | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[Edit]:
        """Make the pictures that the target prompts describe, all in one batch.

        The method is the inversion's own unless another is given; `settings` override its.
        `mask` is `[height, width]` at the picture's size, bool or from 0 to 1; where it is 0 the
        latents are the source's own, and the pixels those of the source's round trip through the
        autoencoder, or with `exact_background` the picture's. Between 0 and 1 latents change
        freely and pixels are mixed. `noise` `[1, c, h, w]` starts the targets elsewhere than the
        source: another scene, to which the text control alone carries the source's subject.
        `seed` seeds the noise of methods that draw any. `watch` sees the targets' latents after
        each step, and gives those to go on with. What is known of the source is not asked again.
        """
        how = fitting(method, settings, inversion, noise)
        how.check_model(self.backbone)
        check_seed(seed)
        if not targets:
            raise InputError("an edit needs a target")
        for target in targets:
            how.check_prompts(inversion.prompt, target)
        check_mask(how, mask is not None)
        run = self._run("editing", inversion, how, [*map(self.embed, targets)], seed, progress)
        run.begin, run.watch, run.preview = noise, watch, self.preview
        if mask is not None:
            mask = pictures.checked(mask, inversion.picture.size)
            run.mask = pictures.cells(mask, inversion.image)
        known = inversion.trajectory if how.inversion else None
        try:
            latents = base.edit(how, run, known)
        except NumericsError:
            inversion.forget()  # it may be what is not finite
            raise
        if len(run.errors) == run.grid.steps:
            inversion.latent_error = run.errors[run.grid.steps - 1]
        images = [
            self._image(latent[None], inversion, mask, exact_background) for latent in latents[-1]
        ]
        return edits(inversion, how, run, latents, images, self.loading, mask, exact_background)

    @frugal
    def after(
        self, inversion: Inversion, edit: Edit, progress: Progress | None = None
    ) -> Inversion:
        """The next turn: an edit as the source.

        A method that follows any trajectory takes the one that the edit went: nothing is inverted,
        and what its unguided source branch lacks, velocity compensation adds, so it too is exact.
        Another method inverts the edit's latent.
        """
        turn = self._invert(
            edit.image,
            inversion.size,
            edit.target,
            edit.latent,
            edit.method,
            progress,
            edit.trajectory,
        )
        turn.round_trip = edit.image  # it came out of the autoencoder, and masks hold in it
        return turn

    @frugal
    def auto_mask(
        self,
        inversion: Inversion,
        target: str,
        threshold: float = 0.15,
        noise_levels: int = 6,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """A bool mask `[height, width]` of where the target prompt wants another picture.

        For two forwards at each of so many noise levels; `threshold`, from 0 to 1, is that of
        `counterflow.controls.blend.difference_mask`: lower is larger.
        """
        run = self._run("masking", inversion, inversion.method, [self.embed(target)], 0, progress)
        steps = masks.compared_steps(run.grid, noise_levels)
        cells = masks.find_mask(run, inversion.trajectory, threshold, steps)
        inversion.mask_forwards += run.forwards
        return pictures.stretched(cells, inversion.picture.size)

    @frugal
    def reconstruct(
        self, inversion: Inversion, compensate: bool = True, progress: Progress | None = None
    ) -> Reconstruction:
        """The source from its noise, guided as it was inverted: exact if compensated."""
        known, how = inversion.trajectory, inversion.method.inversion
        if known is None or how is None:
            raise InputError(f"{inversion.method.name} inverts nothing: there is no noise to use")
        run = self._run("reconstructing", inversion, inversion.method, (), 0, progress)
        run.expected = run.grid.steps - known.first
        velocity = run.velocity(how.prompt, how.guidance)
        landed, residuals = loops.reconstruct(velocity, known, compensate, how.back, run.done)
        error = (landed - known[-1]).abs().max().item()
        inversion.residuals.update(residuals)
        if compensate:
            inversion.latent_error = error
        picture = self.picture(landed, inversion.picture.size)
        return Reconstruction(picture, landed, error, run.forwards, run.seconds)

    def check(self, inversion: Inversion, progress: Progress | None = None) -> None:
        """Measure `residuals` and `latent_error` where no edit has, by a reconstruction."""
        steps = 0 if inversion.trajectory is None else len(inversion.trajectory.latents) - 1
        if steps and (inversion.latent_error is None or len(inversion.residuals) < steps):
            inversion.check_forwards += self.reconstruct(inversion, progress=progress).forwards

    def from_trajectory(
        self, picture: Image.Image, prompt: str, trajectory: Trajectory
    ) -> Inversion:
        """A generated picture, ready to be edited: its trajectory is known, nothing is inverted.

        The source branch follows it by velocity compensation, whatever guidance it was made with.
        """
        how = chosen("ftedit", {"steps": trajectory.grid.steps, "iterations": 0})
        latent = trajectory[-1]
        return self._invert(picture, picture.size, prompt, latent, how, None, trajectory)

    def open(self, path: str | Path) -> Inversion:
        """Read an inversion that `save` wrote, for the model that made it, wherever that lies now.

        Raises InputError for a file that is none, ModelError for another model's.
        """
        stored = store.read(path)
        store.check_model(stored, path, self.backbone)
        inversion = store.restored(stored, self.backbone, self.embed(stored.prompt))
        inversion.features.budget = self.keep
        inversion.origin = origin_of(Path(path), inversion.picture, 0)
        return inversion

    def save(self, inversion: Inversion, path: str | Path, half: bool = False) -> None:
        """Write an inversion as a safetensors file that `open` reads, at half the size if `half`.

        Compensation is exact for what is stored, whatever its precision.
        """
        store.write(path, inversion, half)

    def round_trip(self, inversion: Inversion) -> Image.Image:
        """The inversion's picture through the autoencoder and back."""
        if inversion.round_trip is None:
            inversion.round_trip = self.picture(inversion.image, inversion.picture.size)
        return inversion.round_trip

    def _invert(
        self,
        picture: Image.Image,
        size: tuple[int, int],
        prompt: str,
        image: Latent,
        how: Method,
        progress: Progress | None,
        known: Trajectory | None = None,
        seed: int = 0,
    ) -> Inversion:
        """The record of a picture, by a method's inversion unless its trajectory is known."""
        inversion = Inversion(
            picture,
            size,
            prompt,
            self.embed(prompt),
            image,
            known,
            how,
            self.backbone.identity,
            recorded=known is not None,
            features=Features(self.keep),
        )
        if known is None:
            run = self._run("inverting", inversion, how, (), seed, progress)
            run.expected = how.steps - (how.inversion.stop if how.inversion else 0)
            inversion.trajectory = how.invert(run)
            inversion.forwards, inversion.seconds = run.forwards, run.seconds
            inversion.features.settle()
        return inversion

    def _run(
        self,
        label: str,
        inversion: Inversion,
        how: Method,
        targets: Sequence[Conditioning],
        seed: int,
        progress: Progress | None,
    ) -> Run:
        """A run on an inversion's picture, over its own grid or, without one, the method's."""
        known = inversion.trajectory if how.inversion else None
        null = not targets and how.inversion is not None and how.inversion.prompt == "negative"
        return Run(
            self.backbone,
            inversion.image,
            known.grid if known else how.grid(self.backbone, inversion.size),
            inversion.conditioning,
            self.embedded("") if null else self.negative,
            targets,
            [how.row_map(inversion.conditioning, each) for each in targets],
            inversion.features,
            seed=seed,
            rows=self.rows,
            label=label,
            progress=progress,
            residuals=inversion.residuals,
        )

    def _image(
        self, latent: Latent, inversion: Inversion, mask: np.ndarray | None, exact: bool
    ) -> Image.Image:
        """An edit's picture; outside the mask the source's."""
        picture = self.picture(latent, inversion.picture.size)
        if mask is None:
            return picture
        outside = inversion.picture if exact else self.round_trip(inversion)
        return pictures.composite(picture, outside, mask)
