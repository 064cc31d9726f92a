"""The order in which targets are edited: each alone, in batches, or each from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterflow.edit.checks import check_seed
from counterflow.edit.recorded import TURNS
from counterflow.errors import InputError
from counterflow.progress import Progress
from counterflow.prompts import check_prompt

if TYPE_CHECKING:
    import numpy as np

    from counterflow.edit.editor import Edit, Editor, Inversion
    from counterflow.edit.job import Job
    from counterflow.methods.base import Method


@dataclass
class Plan:
    """Targets, and how they are edited. Raises InputError for options that exclude each other."""

    targets: list[str]
    batch: int = 1
    """Number of targets that are edited together."""
    turns: bool = False
    """Whether each target is edited from the result before it."""
    noise_seed: int | None = None
    """Seed of the noise from which the targets start; None for the source's noise."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"--batch is 1 or more, not {self.batch}")
        if self.noise_seed is not None:
            check_seed(self.noise_seed)
        if self.batch > 1 and self.turns:
            raise InputError("--batch and --turns exclude each other: leave one out")
        if self.turns and len(self.targets) > TURNS + 1:
            raise InputError(f"--turns takes at most {TURNS + 1} targets: go on from the last one")
        if self.noise_seed is not None and self.turns:
            raise InputError("--noise-seed and --turns exclude each other: leave one out")

    def check(self, job: Job) -> None:
        """Raise InputError, with the reason, if the plan does not suit the job."""
        if self.batch > 1 and job.auto_mask:
            raise InputError(
                "--batch and --mask auto exclude each other: each target needs its own mask"
            )

    def check_prompts(self, method: Method, source: str) -> None:
        """Raise InputError for settings that do not suit the prompts of an edit."""
        if self.noise_seed is not None and not method.follows:
            raise InputError(f"--noise-seed needs a method that takes noise, not {method.name}")
        if self.noise_seed is not None and method.skipped:
            raise InputError("--noise-seed and skip_steps exclude each other: leave one out")
        for n, target in enumerate(self.targets):
            check_prompt("a --target", target)
            method.check_prompts(self.targets[n - 1] if self.turns and n else source, target)

    def run(
        self, job: Job, editor: Editor, inversion: Inversion, progress: Progress
    ) -> Iterator[tuple[Edit, np.ndarray | None, Inversion]]:
        """Yield each edit as soon as it is done, with its mask, bool `[height, width]` or None,
        and the inversion that it was made from."""
        noise = None
        if self.noise_seed is not None:
            noise = editor.noise(self.noise_seed, inversion.size)
        for start in range(0, len(self.targets), self.batch):
            part = self.targets[start : start + self.batch]
            mask = job.masked(editor, inversion, part[0], progress)
            edits = editor.edit_batch(
                inversion,
                part,
                job.method,
                mask,
                job.exact_background,
                noise,
                job.model.seed,
                progress,
            )
            for edit in edits:
                # A turn that had to be inverted anew costs that too.
                whole = edit.costing(inversion) if self.turns and start else edit
                yield whole, mask, inversion
            if self.turns and start + self.batch < len(self.targets):
                inversion = editor.after(inversion, edits[-1], progress)

    def record(self, n: int) -> dict[str, Any]:
        """The settings for the PNG of edit `n`: its target, and the targets of the turns before."""
        return {
            "target": self.targets[n],
            "turns": self.targets[:n] if self.turns else [],
            "noise_seed": self.noise_seed,
        }

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that repeats a checked record's edit, as the last of its turns."""
        targets = [*data["turns"], data["target"]]
        return cls(targets, turns=len(targets) > 1, noise_seed=data["noise_seed"])
