"""Generates pictures from prompts and noise."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from textwrap import shorten
from typing import Any, TypeVar

import torch
from PIL import Image

from counterflow import images
from counterflow.backbones.base import Backbone, Conditioning
from counterflow.backbones.loading import Loading
from counterflow.controls.features import KEEP
from counterflow.edit import pictures
from counterflow.edit.checks import check_generate
from counterflow.edit.memory import frugal
from counterflow.edit.recent import Recent
from counterflow.errors import InputError
from counterflow.flow import Latent, Preview
from counterflow.methods.run import ROWS, Run
from counterflow.progress import Progress
from counterflow.prompts import is_text
from counterflow.solvers import trajectory as loops
from counterflow.solvers.base import solver as solver_of
from counterflow.solvers.trajectory import Trajectory

G = TypeVar("G", bound="Generator")
WEIGHTED = re.compile(r"\([^()]+:\s*[\d.]+\s*\)|[\w)]\+\+|\(\([^()]+\)\)")
"""How other programs take a word's weight: (word:1.3), word++, ((word))."""
PROMPTS = 16
"""How many embedded prompts are kept."""


class Generator:
    """A backbone with the methods that generate pictures.

    `rows` is the most samples in one forward; fewer need less memory. `keep` is the most bytes of
    a picture's features and velocities that are kept for its next edits; what does not fit is
    computed again. `negative` is what guidance leads away from, empty by default. Raises
    InputError for rows below 1 and bytes below 0.
    """

    loading: Loading | None = None
    """How the model was opened, and the device and type that it got; None for one in memory."""
    _noticed: frozenset[str] = frozenset()
    _latest: tuple[bytes, Latent] | None = None
    """The picture that was encoded last, as the model sees it, and its latent."""

    def __init__(
        self, backbone: Backbone, rows: int = ROWS, keep: int = KEEP, negative: str = ""
    ) -> None:
        if rows < 1:
            raise InputError(f"rows is 1 or more, not {rows}")
        if keep < 0:
            raise InputError(f"keep is 0 bytes or more, not {keep}")
        self.backbone, self.rows, self.keep = backbone, rows, keep
        self.embedded: Recent[str, Conditioning] = Recent(
            lambda prompt: self.backbone.embed(prompt), PROMPTS
        )
        """A prompt's conditioning; those asked for lately are not made again."""
        self.negative = self.embedded(negative)
        self.preview: Preview | None = None
        """Told after each step of an edit where it is heading, if it is set."""

    @classmethod
    def load(cls: type[G], model: Any = "toybox", *given: Any, **options: Any) -> G:
        """Load a model; arguments, options and errors are those of `load_backbone`.

        A pipeline in memory may come with `negative`. Warns (UserWarning) of a model that was
        distilled for few steps, and says which methods suit it.
        """
        from counterflow.backbones.loading import choice
        from counterflow.backbones.opening import load_backbone
        from counterflow.methods.support import advice

        how = choice(model, given, options)
        negative = options.get("negative", "") if how is None else how.negative
        editor = cls(load_backbone(how or model), negative=negative)
        if how is not None:
            device, dtype = str(editor.backbone.device), str(editor.backbone.dtype)
            editor.loading = replace(how, device=device, dtype=dtype.removeprefix("torch."))
        if said := advice(editor.backbone.distilled):
            warnings.warn(said, stacklevel=2)
        return editor

    @frugal
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
        """Generate a picture of `size`, (width, height), and its trajectory.

        With Euler it equals the output of the model's own pipeline for a CPU generator of this seed
        and the adapter's `max_sequence_length` (its tokenizer's limit, at most 256). DDIM
        (`solver="ddim"`) between the same noise levels differs only by rounding. Raises InputError
        for a wrong option or size and NumericsError for NaN.
        """
        size = size or self.square
        check_generate(steps, guidance, seed, *size, solver)
        multiple, longest = self.backbone.multiple, self.backbone.longest
        if any(s % multiple or s > longest for s in size):
            raise InputError(
                f"width and height are multiples of {multiple} up to {longest}, not {size}"
            )
        noise, grid = self.noise(seed, size), self.backbone.grid(steps, size)
        source = self.embed(prompt)
        run = Run(self.backbone, noise, grid, source, self.negative, rows=self.rows)
        run.label, run.expected, run.progress = "generating", steps, progress
        velocity = run.velocity("source", guidance)
        latents = loops.generate(solver_of(solver), velocity, noise, grid, run.done)
        trajectory = Trajectory(latents[:, 0], grid)
        return self.picture(trajectory[-1], size), trajectory

    def embed(self, prompt: str) -> Conditioning:
        """Embed a prompt; warns (UserWarning) of words that are cut off or never learned.

        Prompts asked for lately are not embedded again, and of those that were given to `notice`
        nothing more is said. Raises InputError for what is no text.
        """
        if prompt not in self._noticed:
            self._warn([prompt])
        return self.embedded(prompt)

    def notice(self, *prompts: str) -> None:
        """Warn of all these prompts together what `embed` would say of each; it then does not."""
        self._warn(list(dict.fromkeys(prompts)))
        self._noticed = frozenset(prompts)

    def _warn(self, prompts: Sequence[str]) -> None:
        unknown: dict[str, None] = {}
        for prompt in prompts:
            if not is_text(prompt):
                raise InputError(f"{prompt!r:.60} is no text that a model can read")
            conditioning = self.embedded(prompt)
            if cut := conditioning.cut.items():
                unseen = ", ".join(f"{shorten(rest, 60)!r} by {name}" for name, rest in cut)
                what = f"the prompt {shorten(prompt, 40)!r} is too long; not seen: {unseen}"
                warnings.warn(what, stacklevel=4)
            unknown |= dict.fromkeys(conditioning.unknown)
        for weighted in dict.fromkeys(w for prompt in prompts for w in WEIGHTED.findall(prompt)):
            warnings.warn(f"{weighted} is read as words: no word is weighted here", stacklevel=4)
        if unknown:
            words = ", ".join(map(repr, unknown))
            warnings.warn(f"the model never learned {shorten(words, 200)}", stacklevel=4)

    @property
    def square(self) -> tuple[int, int]:
        """The model's own size, (width, height) in pixels, as a square."""
        side = round(self.backbone.area**0.5)
        return side, side

    def noise(self, seed: int, size: tuple[int, int]) -> Latent:
        """The noise of a seed for a picture of `size`, (width, height); `[1, c, h, w]`."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.backbone.latent_shape(size)
        return torch.randn(1, *shape, generator=generator).to(self.backbone.device)

    def picture(self, latent: Latent, size: tuple[int, int]) -> Image.Image:
        """Decode a latent `[1, c, h, w]` to a picture of `size`, (width, height)."""
        return pictures.to_picture(self.backbone, latent, size)

    def encoded(self, picture: Image.Image, size: tuple[int, int]) -> Latent:
        """The latent `[1, c, h, w]` of a picture at a size; the last one is not encoded again."""
        array = images.to_array(picture, size)
        seen = blake2b(array.tobytes(), key=repr(array.shape).encode()).digest()
        if self._latest is None or self._latest[0] != seen:
            self._latest = seen, self.backbone.encode(torch.from_numpy(array)[None])
        return self._latest[1]
