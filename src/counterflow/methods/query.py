"""What a run asks the model for."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch

from counterflow.backbones.base import Guidance
from counterflow.controls.features import Question
from counterflow.flow import Branch, Latent, Step


@dataclass(frozen=True)
class Query:
    """A guided velocity that is asked for: of which branch, at which latents."""

    branch: Branch
    x: Latent
    guidance: Guidance
    features: Step | None = None
    """The evaluation whose source features these rows give or take; None for the step's own."""
    optional: bool = False
    """Whether features that are not known leave a target's as they are."""
    wanted: bool = True
    """Whether it is evaluated at all."""
    recalled: Step | None = None
    """An evaluation of the inversion whose features, where known, stand for the source's own."""
    guides: Branch | None = None
    """For the negative prompt, the branch that it guides, if any."""

    @property
    def shared(self) -> bool:
        """Whether another edit may ask the same: of one latent, not under a target's prompt."""
        return self.branch != "target" and len(self.x) == 1 and self.recalled is None

    def question(self, step: Step) -> Question:
        """All that decides the answer, beside the prompts."""
        latent = self.x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return self.branch, step.sigma, self.guidance.scale, blake2b(latent).digest()
