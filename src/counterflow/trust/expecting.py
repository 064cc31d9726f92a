"""What `edit` says of each of its results, as the JSON and the PNG record keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.trust.calibration import find
from counterflow.trust.report import UNKNOWN, Report, assess, enlarged, sentence


@dataclass
class Expecting:
    """Reports on the pictures that some targets are made from: each picture once.

    Where the model has no calibration no forward is made, as the figures would mean nothing.
    """

    editor: Editor
    targets: Sequence[str]
    turns: bool = False
    """Whether each target has a picture of its own, the edit before it."""
    method: str = ""
    """The method that makes the edits, and after its name any settings that are not its own."""
    wanted: bool = True
    """False: only the working size is told."""
    _report: Report | None = field(default=None, init=False)
    _of: Inversion | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._known = find(self.editor.backbone.identity) if self.wanted else None

    def __call__(self, inversion: Inversion, n: int) -> dict[str, Any]:
        """What is said of target `n`, JSON-ready; the first one of a picture bears the cost."""
        size = enlarged(inversion.picture.size, inversion.size)
        if self._known is None:
            return {"sentence": UNKNOWN if self.wanted else "", "size": size, "forwards": 0}
        first = inversion is not self._of or self._report is None
        if first:
            part = [self.targets[n]] if self.turns else list(self.targets)
            self._report = assess(self.editor, inversion, part, self._known)
            self._of = inversion
        report = self._report
        assert report is not None
        k = 0 if self.turns else n
        return {
            "sentence": sentence(report, k, self.method),
            "size": size,
            "success": report.edits[k].success,
            "preserved": report.edits[k].preserved,
            "picture": report.picture,
            "source": report.sentence,
            "method": report.method,
            "figures": report.figures,
            "places": report.places,
            "noise": report.noise,
            "forwards": report.forwards if first else 0,
        }
