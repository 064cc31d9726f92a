"""How the targets of an edit are made: each alone, in batches, or each from the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterflow.edit.settings import EditSettings, check_seed
from counterflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from counterflow.cli.job import Job
    from counterflow.cli.show import Progress
    from counterflow.edit.editor import Edit, Editor, Inversion


@dataclass
class Plan:
    """Targets and the way to them."""

    targets: list[str]
    settings: EditSettings
    batch: int = 1
    turns: bool = False
    noise_seed: int | None = None

    def check(self, masked: bool, auto_mask: bool) -> None:
        """Refuse what does not go together; InputError says why."""
        if self.batch < 1:
            raise InputError(f"--batch is 1 or more, not {self.batch}")
        if self.batch > 1 and (self.turns or auto_mask):
            other = "--turns" if self.turns else "--mask auto"
            raise InputError(f"--batch and {other} exclude each other: each target needs its own")
        if self.settings.exact_background and not masked:
            raise InputError("--exact-background needs a --mask: without one all may change")
        if self.noise_seed is not None:
            check_seed(self.noise_seed)
            if self.settings.skip_steps or self.turns:
                other = "--turns" if self.turns else "--skip-steps"
                raise InputError(f"--noise-seed and {other} exclude each other")

    def check_words(self, source: str) -> None:
        """Refuse a window for a word that a target and what it is made from do not share."""
        for n, target in enumerate(self.targets):
            before = self.targets[n - 1] if self.turns and n else source
            self.settings.check_words(before, target)

    def run(
        self, job: Job, editor: Editor, inversion: Inversion, progress: Progress
    ) -> Iterator[tuple[Edit, np.ndarray | None]]:
        """Each edit as soon as it is made, with its mask."""
        noise = None
        if self.noise_seed is not None:
            noise = editor.noise(self.noise_seed, inversion.size)
        for start in range(0, len(self.targets), self.batch):
            part = self.targets[start : start + self.batch]
            mask = job.masked(inversion, part[0], progress)
            for edit in inversion.edit_batch(part, self.settings, mask, progress, noise):
                yield edit, mask
                if self.turns:
                    inversion = inversion.after(edit)

    def record(self, n: int) -> dict[str, Any]:
        """For the PNG of edit `n`: its target, and the turns before it."""
        return {
            "target": self.targets[n],
            "turns": self.targets[:n] if self.turns else [],
            "noise_seed": self.noise_seed,
            "edit": self.settings.to_dict(),
        }

    @classmethod
    def from_record(cls, data: dict[str, Any]) -> Plan:
        """Makes the edit of a PNG again, as the last of its turns."""
        before = [str(target) for target in data.get("turns", [])]
        settings = EditSettings.from_dict(data["edit"])
        targets = [*before, str(data["target"])]
        return cls(targets, settings, turns=bool(before), noise_seed=data.get("noise_seed"))
