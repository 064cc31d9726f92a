"""How a control meets a model: scoped hooks at the adapter's sites, told the step by the loop.

    with attach(backbone, controls) as session:
        with session.running(step, parts):  # which rows of the batch are whose
            backbone.velocity(...)

The rows of the source branch have their features remembered, those of targets have them replaced,
those of the negative prompt pass untouched unless a control asks for them. One forward may hold all
three, source rows first.
After `attach` there is no hook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from counterflow.backbones.base import Backbone, Site
from counterflow.backbones.hooks import hooked
from counterflow.controls.features import Features
from counterflow.controls.rows import RowMap
from counterflow.flow import Branch, Half, Step


@runtime_checkable
class Control(Protocol):
    """Decides where and when target features are replaced, and by what.

    It may also have `weights`, `[targets, tokens, 1]`, by which what it takes is mixed with the
    target's own, and `unconditional`, the half of the source's whose features the targets'
    unconditional rows take (they pass untouched without).
    """

    def wants(self, site: Site, step: Step) -> bool:
        """Whether this control acts at a site in a step (asked for either branch)."""
        ...

    def apply(
        self, site: Site, step: Step, target: Tensor, source: Tensor, rows: Sequence[RowMap]
    ) -> Tensor:
        """New target features `[b, tokens, width]` from the target's and the source's `[1, …]`.

        `rows` has one map for each of the `b` targets.
        """
        ...


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a forward's batch: whose they are, and what is to happen to them."""

    branch: Branch
    rows: slice
    features: Step
    """The evaluation whose source features these rows give (source) or take (target)."""
    maps: Sequence[RowMap] = ()
    """For targets, one map for each row."""
    optional: bool = False
    """Whether a target stays as it is where the source's features are not known."""
    recalled: Step | None = None
    """An evaluation of the inversion whose features, where known, stand for the source's own."""
    guides: Branch | None = None
    """For rows of the negative prompt that guide a branch's rows, that branch."""
    targets: slice = field(default_factory=lambda: slice(None))
    """For targets, and what guides them, which of the run's they are."""

    @property
    def half(self) -> Half:
        """Which half of guidance the rows are."""
        return "unconditional" if self.branch == "negative" else "conditional"


class Session:
    """Attached controls, and the forward that the loop says is running."""

    def __init__(
        self, sites: Sequence[Site], controls: Sequence[Control], features: Features
    ) -> None:
        self.sites = sites
        self.controls = controls
        self.features = features
        self._step: Step | None = None
        self._parts: Sequence[Part] = ()

    @contextmanager
    def running(self, step: Step, parts: Sequence[Part]) -> Iterator[None]:
        """Inside, a forward is made whose batch has these parts."""
        self._step, self._parts = step, parts
        try:
            yield
        finally:
            self._step, self._parts = None, ()

    def active(self, site: Site, step: Step) -> list[Control]:
        """The controls that act at a site in a step."""
        return [control for control in self.controls if control.wants(site, step)]

    def lacks(self, step: Step, features: Step | None = None, recalled: Step | None = None) -> bool:
        """Whether a control at this step will need source features that are not known yet.

        `features` is the evaluation that they are of, where it is not the step's own; those of
        `recalled` stand for them.
        """
        return any(
            self._known(site, half, features or step, recalled) is None
            for site in self.sites
            for half in _halves(self.active(site, step))
        )

    def on_output(self, site: Site, output: Any) -> Any:
        """What a site's hook does: remember the source's rows, replace those of targets."""
        step = self._step
        controls = self.active(site, step) if step is not None else []
        if step is None or not controls:
            return output
        value = site.read(output)
        pieces = [self._piece(site, step, controls, value, part) for part in self._parts]
        if all(new is None for new in pieces):
            return output
        value = value.clone()
        for part, new in zip(self._parts, pieces, strict=True):
            if new is not None:
                value[part.rows] = new
        return site.write(output, value)

    def _piece(
        self, site: Site, step: Step, controls: Sequence[Control], value: Tensor, part: Part
    ) -> Tensor | None:
        """New features of a part's rows, or None where they stay."""
        whose = part.guides or part.branch
        if whose == "source" and part.half in _halves(controls):
            return self._give(site, value[part.rows], part)
        if whose == "target":
            return self._take(site, step, controls, value[part.rows], part)
        return None

    def _give(self, site: Site, own: Tensor, part: Part) -> Tensor | None:
        """The source's rows: remembered, or replaced by what the inversion remembered."""
        if part.recalled is not None:
            recalled = self.features.get(part.recalled, site, part.half)
            if recalled is not None:
                return recalled.to(own)
        self.features.put(part.features, site, own, part.half)
        return None

    def _take(
        self, site: Site, step: Step, controls: Sequence[Control], own: Tensor, part: Part
    ) -> Tensor | None:
        """The targets' rows under every control that acts on them."""
        new = None
        for control in controls:
            half = "conditional" if part.half == "conditional" else _unconditional(control)
            if half is None:
                continue
            source = self._known(site, half, part.features, part.recalled)
            if source is None and part.optional:
                continue
            if source is None:
                raise RuntimeError(f"no source features at step {step.index}, site {site.name}")
            before = own if new is None else new
            new = control.apply(site, step, before, source.to(own), part.maps)
            weights = getattr(control, "weights", None)
            if weights is not None:
                new = torch.lerp(before, new, weights[part.targets].to(own).expand_as(own))
        return new

    def _known(
        self, site: Site, half: Half, features: Step, recalled: Step | None
    ) -> Tensor | None:
        """The source's features, by an evaluation or by the one that stands for it."""
        before = None if recalled is None else self.features.get(recalled, site, half)
        return self.features.get(features, site, half) if before is None else before


def _unconditional(control: Control) -> Half | None:
    return getattr(control, "unconditional", None)


def _halves(controls: Sequence[Control]) -> set[Half]:
    """The halves of the source's features that controls need."""
    asked: set[Half] = {"conditional"} if controls else set()
    return asked | {half for half in map(_unconditional, controls) if half is not None}


@contextmanager
def attach(
    backbone: Backbone, controls: Sequence[Control], features: Features | None = None
) -> Iterator[Session]:
    """Hook controls to a backbone's sites; every hook is gone afterwards, whatever happened.

    Raises RuntimeError if controls are attached to this backbone already.
    """
    if getattr(backbone, "_attached", False):
        raise RuntimeError("controls are attached to this backbone already; end that context first")
    sites = backbone.sites() if controls else []
    session = Session(sites, controls, features if features is not None else Features())
    backbone._attached = True  # type: ignore[attr-defined]
    try:
        with hooked(sites, session.on_output):
            yield session
    finally:
        backbone._attached = False  # type: ignore[attr-defined]
