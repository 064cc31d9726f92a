"""What methods cost on one model: forwards, time over the bare forwards, peak memory.

The bare forwards are those that the run itself made, of the same batches at the same noise levels,
made again without loop, hooks and bookkeeping. What the run computes once (`Backbone.steady`) they
compute once, too. Run and bare forwards take turns; ratios are medians over scenes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch

from counterflow.backbones.base import Backbone, Conditioning
from counterflow.backbones.memory import weight_bytes
from counterflow.edit.editor import Editor
from counterflow.flow import Latent, OneLatent, Step
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.methods.ftedit import FTEdit
from counterflow.methods.run import Run
from counterflow.progress import Progress
from counterflow.solvers.trajectory import Trajectory, invert
from counterflow.toybox.edits import SceneEdit, draw_edit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

ALL = "ftedit, all passes"
"""The reference's order of computation."""
ENCODERS = ("embed", "encode", "decode")
"""Functions of a backbone that are no part of a run's loop."""
Clock = np.ndarray  # seconds of wall time and of processor time


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
        self, run: Run, known: Trajectory, x: Latent, source: OneLatent, step: Step
    ) -> tuple[Latent, OneLatent]:
        """Four rows for each step."""
        asked = run.of_source(source, self.guidance), run.of_target(x, self.guidance)
        _, v = run.velocities(step, *asked)
        return x + run.grid.width(step.index) * v, known[step.index + 1]


def methods(steps: int = 30, iterations: int = 3) -> dict[str, Method]:
    """FTEdit here and in the reference's order; ours; FlowEdit as published, and in few steps."""
    return {
        "ftedit": registry.method("ftedit", steps=steps, iterations=iterations),
        ALL: AllPasses(steps=steps, iterations=iterations),
        "paired": registry.method("paired"),
        "flowedit": registry.method("flowedit"),
        "flowedit, 10 steps": registry.method(
            "flowedit", steps=10, guidance=2.0, source_guidance=2.0
        ),
    }


@dataclass(frozen=True)
class Call:
    """A forward that a run made."""

    x: Latent
    sigma: float
    conditioning: Conditioning
    steady: bool
    """Whether the run computed once what noise level and prompts alone decide."""


@dataclass
class Meter:
    """The forwards of a run, and the time that text encoders and autoencoder took of it."""

    backbone: Backbone
    calls: list[Call] = field(default_factory=list)
    encoders: Clock = field(default_factory=lambda: np.zeros(2))
    steady: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the backbone's functions are noted down as they are called."""
        backbone: Any = self.backbone
        velocity, steady = backbone.velocity, backbone.steady

        def noted(x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
            self.calls.append(Call(x, sigma, conditioning, self.steady))
            return velocity(x, sigma, conditioning)  # type: ignore[no-any-return]

        @contextmanager
        def held() -> Iterator[None]:
            with steady():
                self.steady = True
                try:
                    yield
                finally:
                    self.steady = False

        changed = {"velocity": noted, "steady": held}
        changed |= {name: self._timed(getattr(backbone, name)) for name in ENCODERS}
        try:
            for name, function in changed.items():
                setattr(backbone, name, function)
            yield
        finally:
            for name in changed:
                delattr(backbone, name)

    def bare(self) -> None:
        """The same forwards again, and nothing else."""
        for steady, calls in groupby(self.calls, key=lambda call: call.steady):
            with self.backbone.steady() if steady else nullcontext():
                for call in calls:
                    self.backbone.velocity(call.x, call.sigma, call.conditioning)

    def plain(self) -> None:
        """Guided generation in the run's largest batch: three steps, and a picture decoded."""
        most = max(self.calls, key=lambda call: len(call.x))
        x, half = most.x, -(-len(most.x) // 2)
        for k in range(3):
            v = self.backbone.velocity(x, 1 - k / 3, most.conditioning)
            v = v[-half:] + 2 * (v[:half] - v[-half:])
            x = x - torch.cat([v, v])[: len(x)] / 3
        self.backbone.decode(x[:1])

    def _timed(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(value: Any) -> Any:
            begin = clock(self.backbone.device)
            result = function(value)
            self.encoders = self.encoders + clock(self.backbone.device) - begin
            return result

        return timed


def clock(device: torch.device) -> Clock:
    """Wall and processor time, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()])


def peak(backbone: Backbone, work: Callable[[], Any]) -> tuple[int, int] | None:
    """Most bytes of tensors, weights and all, while some work is done; and those of weights alone.

    On a GPU its allocator tells it. On a CPU the profiler lists every allocation, and their sum is
    the same from run to run, unlike a process's memory. None for another device.
    """
    weights = weight_bytes(backbone.pipeline)  # type: ignore[attr-defined]
    if backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backbone.device)
        work()
        return torch.cuda.max_memory_allocated(backbone.device), weights
    if backbone.device.type != "cpu":
        return None
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return weights + int(np.cumsum([size for _, size in memory]).max(initial=0)), weights


@dataclass
class Costs:
    """What a method costs; times by scene."""

    meter: Meter
    """The last scene's."""
    forwards: tuple[int, int, int] = (0, 0, 0)
    """Of inverting, of the first target, and of the next one."""
    loop: list[Clock] = field(default_factory=list)
    """Without text encoders and autoencoder."""
    bare: list[Clock] = field(default_factory=list)
    whole: list[Clock] = field(default_factory=list)
    latent: Latent | None = None


def _ratio(times: Sequence[Clock], other: Sequence[Clock]) -> dict[str, float]:
    """Medians over scenes."""
    wall, processor = np.median([a / b for a, b in zip(times, other, strict=True)], axis=0)
    return {"wall": float(wall), "processor": float(processor)}


def measure(
    editor: Editor,
    chosen: Mapping[str, Method],
    scenes: int = 3,
    seed: int = 30_000,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every method on fresh scenes, each inverted and edited to two targets in a batch.

    The first scene warms up and is not counted.
    """
    costs = {name: Costs(Meter(editor.backbone)) for name in chosen}
    differences = []
    for n in range(scenes + 1):
        for place, (name, method) in enumerate(chosen.items()):
            _time(editor, method, costs[name], draw_edit(sample(seed + n), 1, seed + n))
            if progress is not None:
                progress("timing", n * len(chosen) + place + 1, (scenes + 1) * len(chosen))
        if ALL in costs:
            here, there = costs["ftedit"].latent, costs[ALL].latent
            assert here is not None and there is not None
            differences.append(float((here - there).norm() / there.norm()))
        for each in costs.values():
            for times in (each.loop, each.bare, each.whole) if n == 0 else ():
                times.clear()
    case = draw_edit(sample(seed), 1, seed)
    rows = {}
    for n, (name, each) in enumerate(costs.items()):
        rows[name] = _row(each) | _memory(editor, chosen[name], case, each.meter)
        if name == ALL:  # its code inverts again
            rows[name]["forwards"]["further"] = rows[name]["forwards"]["first"]
        if ALL in costs:
            rows[name]["time of all passes"] = _ratio(each.loop, costs[ALL].loop)
        if progress is not None:
            progress("memory", n + 1, len(costs))
    device = editor.backbone.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "model": editor.backbone.identity,
        "device": name,
        "dtype": str(editor.backbone.dtype).removeprefix("torch."),
        "scenes": scenes,
        "methods": rows,
        "largest relative difference of latents": max(differences, default=None),
    }


def _row(costs: Costs) -> dict[str, Any]:
    invert, first, further = costs.forwards
    return {
        "forwards": {"invert": invert, "edit": first, "first": invert + first, "further": further},
        "largest batch": max(len(call.x) for call in costs.meter.calls),
        "time": _ratio(costs.loop, costs.bare),
        "time with encoders": _ratio(costs.whole, costs.bare),
    }


def _memory(editor: Editor, method: Method, case: SceneEdit, meter: Meter) -> dict[str, Any]:
    """Peak bytes of a run, of plain generation in its largest batch, and their ratio."""
    plain = peak(editor.backbone, meter.plain)
    run = peak(editor.backbone, lambda: _work(editor, method, case))
    if plain is None or run is None:
        return {"memory": None}
    (most, weights), (base, _) = run, plain
    ratios = {"ratio": most / base, "without weights": (most - weights) / (base - weights)}
    return {"memory": ratios | {"run": most, "plain": base, "weights": weights}}


def _time(editor: Editor, method: Method, costs: Costs, case: SceneEdit) -> None:
    """A run that nothing is known to, and then its bare forwards."""
    editor = Editor(editor.backbone, editor.rows, editor.keep)
    costs.meter = meter = Meter(editor.backbone)
    device = editor.backbone.device
    begin = clock(device)
    with meter.watching():
        costs.forwards, costs.latent = _work(editor, method, case)
    end = clock(device)
    meter.bare()
    costs.bare.append(clock(device) - end)
    costs.whole.append(end - begin)
    costs.loop.append(end - begin - meter.encoders)


def _work(editor: Editor, method: Method, case: SceneEdit) -> tuple[tuple[int, int, int], Latent]:
    """Invert a picture and edit it to two targets in a batch, one of them the source's prompt."""
    source, target = case.prompts
    inversion = editor.invert(render(case.source), source, method)
    first, further = editor.edit_batch(inversion, [target, source])
    return (inversion.forwards, first.forwards, further.forwards), first.latent
