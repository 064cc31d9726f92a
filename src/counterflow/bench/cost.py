"""What the paper's settings cost here, beside the same mathematics run as its code runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from counterflow.edit.editor import Editor
from counterflow.flow import Latent, Step
from counterflow.methods.ftedit import FTEdit
from counterflow.methods.run import Run
from counterflow.progress import Progress
from counterflow.solvers.trajectory import Trajectory, invert
from counterflow.toybox.edits import SceneEdit, draw_edit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample


@dataclass(frozen=True)
class AllPasses(FTEdit):
    """FTEdit with every pass that its code makes: unconditional ones too, and nothing kept."""

    name = "ftedit-all-passes"

    @property
    def keeps(self) -> bool:
        """Nothing."""
        return False

    def invert(self, run: Run) -> Trajectory:
        """Two rows for each evaluation; at guidance 1 the unconditional one is not used."""

        def velocity(x: Latent, step: Step) -> Latent:
            conditional, _ = run.velocities(step, run.of_source(x), run.of_negative(x))
            return conditional  # type: ignore[no-any-return]

        return invert(self.inversion.solver, velocity, run.image, run.grid, 0, run.done)

    def step(
        self, run: Run, known: Trajectory, x: Latent, source: Latent, step: Step
    ) -> tuple[Latent, Latent]:
        """Four rows for each step."""
        asked = run.of_source(source, self.guidance), run.of_target(x, self.guidance)
        _, v = run.velocities(step, *asked)
        return x + run.grid.width(step.index) * v, known[step.index + 1]


ORDERS = {"here": FTEdit, "all passes": AllPasses}
"""The two orders of computation."""


Pair = tuple[float, float]
"""Of inverting, and of the first edit."""
Part = Callable[[Pair], float]
PARTS: dict[str, Part] = {
    "invert": lambda pair: pair[0],
    "first edit": lambda pair: pair[1],
    "both": sum,
}


@dataclass(frozen=True)
class Cost:
    """What inverting and the first edit cost."""

    forwards: Pair
    seconds: Pair
    processor: Pair
    """Processor time, seconds."""


def measure(
    editor: Editor,
    pairs: int = 5,
    seed: int = 30_000,
    steps: int = 30,
    iterations: int = 3,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Both orders of computation in turn, on fresh scenes, after a pair that warms up.

    A ratio is the median over pairs of what it costs here to what all passes cost.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in ORDERS}
    differences = []
    for n in range(pairs + 1):
        case = draw_edit(sample(seed + n), 1, seed + n)
        latents = []
        for name, order in ORDERS.items():
            cost, latent = _timed(editor, order(steps=steps, iterations=iterations), case)
            costs[name].append(cost)
            latents.append(latent)
        differences.append(float((latents[0] - latents[1]).norm() / latents[1].norm()))
        if progress is not None:
            progress("timing", n + 1, pairs + 1)
    both = list(zip(*costs.values(), strict=True))[1:]
    return {
        "pairs": pairs,
        "largest relative difference of latents": max(differences),
        "ratios": {
            name: {
                "forwards": _ratio(part, [(a.forwards, b.forwards) for a, b in both]),
                "seconds": _ratio(part, [(a.seconds, b.seconds) for a, b in both]),
                "processor": _ratio(part, [(a.processor, b.processor) for a, b in both]),
            }
            for name, part in PARTS.items()
        },
    }


def _ratio(part: Part, pairs: Sequence[tuple[Pair, Pair]]) -> float:
    return median(part(here) / part(everything) for here, everything in pairs)


def _timed(editor: Editor, method: FTEdit, case: SceneEdit) -> tuple[Cost, Latent]:
    source, target = case.prompts
    picture = render(case.source)
    clocks = [(time.perf_counter(), time.process_time())]
    inversion = editor.invert(picture, source, method)
    clocks.append((time.perf_counter(), time.process_time()))
    edit = editor.edit(inversion, target)
    clocks.append((time.perf_counter(), time.process_time()))
    seconds, processor = ((b - a, c - b) for a, b, c in zip(*clocks, strict=True))
    return Cost((inversion.forwards, edit.forwards), seconds, processor), edit.latent
