"""A mask of an object, by where the inversion's attention finds its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from counterflow.controls.align import changed_words, word_spans
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Control
from counterflow.controls.looking import attention_to_text, rows_of
from counterflow.controls.tokens import to_cells, to_tokens, token_side
from counterflow.errors import InputError
from counterflow.flow import Latent, Step
from counterflow.kinds import Number, Some
from counterflow.methods.base import Method
from counterflow.methods.run import Run
from counterflow.settings import setting
from counterflow.solvers.trajectory import Trajectory, invert


@dataclass(frozen=True)
class Looking(Method):
    """Its inversion leaves the mean attention from each image token to each row of the prompt."""

    records = True

    words: tuple[str, ...] = setting(
        (), Some(), "The object in the source prompt; by default what the target changes of it."
    )
    threshold: float = setting(0.1, Number(0, 1), "Attention above it is the object's.")

    def check_prompts(self, source: str, target: str) -> None:
        """Refuse words that the source does not say."""
        said = [source[a:b].lower() for a, b in word_spans(source)]
        for word in self.words:
            if word.lower() not in said:
                raise InputError(f"words are of the source prompt, which does not say {word!r}")

    def recording(self, *parts: str) -> list[Control]:
        """To remember these parts of the image's attention, and what looking needs beside q, k."""
        image = AttentionControl(1.0, parts, "image", stage="invert")
        return [image, AttentionControl(1.0, ("k",), "text", stage="invert")]

    def invert(self, run: Run) -> Trajectory:
        """The solver's loop, watched."""
        how, sites, seen = self.inversion, run.backbone.sites(), []
        assert how is not None, "a method that looks inverts"
        velocity = run.velocity(how.prompt, how.guidance)

        def asked(x: Latent, step: Step) -> Latent:
            v = velocity(x, step)
            seen.append(attention_to_text(sites, run.features, step, run.source.attended))
            return v

        with run.attached(self.controls(run, None), run.features):
            known = invert(how.solver, asked, run.image, run.grid, how.stop, run.done)
        run.features.seen = torch.stack(seen).mean(0)
        return known

    def inside(self, run: Run) -> Float[Tensor, "targets tokens 1"]:
        """1 where the object is: inside the run's mask, or else where its words are found.

        All is the object where the target changes no word of the source. What an inversion did not
        leave is found by another one.
        """
        side, rows = token_side(run.backbone), run.image.shape[-2]
        if run.mask is not None:
            return to_tokens(run.mask, side).expand(len(run.targets), -1, -1)
        if run.features.seen is None:
            run.expected += run.grid.steps
            self.invert(run)
        seen: Any = run.features.seen
        masks = []
        for target in run.targets:
            columns = rows_of(run.source.segments, self._spans(run.source.prompt, target.prompt))
            share = seen[:, columns].sum(1, keepdim=True)
            share = (share - share.min()) / (share.max() - share.min() + 1e-6)
            masks.append((share > self.threshold).float() if columns else torch.ones_like(share))
        run.found.append(to_cells(torch.stack(masks), rows, side))
        return torch.stack(masks)

    def _spans(self, source: str, target: str) -> list[tuple[int, int]]:
        """Of the words that are named, the first time each is said, or that the target changes."""
        spans = [(a, b) for a, b in word_spans(source) if source[a].isalnum()]
        if not self.words:
            return [span for span in changed_words(target, source) if span in spans]
        said = [source[a:b].lower() for a, b in spans]
        return [spans[said.index(word.lower())] for word in self.words]
