"""How a control meets a model: scoped hooks at the adapter's sites, told the step by the loop.

    with attach(backbone, controls) as session:
        with session.running(step, parts):  # which rows of the batch are whose
            backbone.velocity(...)

The rows of the source branch have their features remembered, those of targets have them replaced,
those of the negative prompt pass untouched. One forward may hold all three, source rows first.
After `attach` there is no hook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from counterflow.backbones.base import Backbone, Site
from counterflow.controls.rows import RowMap
from counterflow.flow import Branch, Step


@runtime_checkable
class Control(Protocol):
    """Decides where and when target features are replaced, and by what."""

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


Evaluation = tuple[str, int, int]
"""Stage, interval and number within it: which evaluation of the source features are of."""


def evaluation(step: Step) -> Evaluation:
    """The key of a step's features."""
    return step.stage, step.index, step.evaluation


@dataclass
class Features:
    """Source features by evaluation and site: what further targets need not compute again.

    Features beyond `budget` bytes are kept for the running step only.
    """

    budget: int = 2 << 30
    kept: dict[tuple[Evaluation, str], Tensor] = field(default_factory=dict)
    passing: dict[tuple[Evaluation, str], Tensor] = field(default_factory=dict)
    size: int = 0

    def put(self, step: Step, site: Site, value: Tensor) -> None:
        """Remember a copy of the source's features."""
        key = (evaluation(step), site.name)
        if key in self.kept:
            return
        value = value.detach().clone()
        amount = value.numel() * value.element_size()
        if self.size + amount <= self.budget:
            self.kept[key] = value
            self.size += amount
        else:
            self.passing[key] = value

    def get(self, step: Step, site: Site) -> Tensor | None:
        """The source's features of an evaluation at a site, if they are known."""
        key = (evaluation(step), site.name)
        return self.passing.get(key, self.kept.get(key))

    def clear(self) -> None:
        """Forget everything."""
        self.kept.clear()
        self.passing.clear()
        self.size = 0

    def end_step(self) -> None:
        """Forget what did not fit the budget."""
        self.passing.clear()


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

    def lacks(self, step: Step, features: Step | None = None) -> bool:
        """Whether a control at this step will need source features that are not known yet.

        `features` is the evaluation that they are of, where it is not the step's own.
        """
        key = features or step
        return any(
            self.active(site, step) and self.features.get(key, site) is None for site in self.sites
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
        if part.branch == "source":
            self.features.put(part.features, site, value[part.rows])
        if part.branch != "target":
            return None
        source = self.features.get(part.features, site)
        if source is None and part.optional:
            return None
        if source is None:
            raise RuntimeError(f"no source features at step {step.index}, site {site.name}")
        new, source = value[part.rows], source.to(value)
        for control in controls:
            new = control.apply(site, step, new, source, part.maps)
        return new


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
    handles = []
    backbone._attached = True  # type: ignore[attr-defined]
    try:
        for site in sites:

            def hook(_module: Any, _inputs: Any, output: Any, site: Site = site) -> Any:
                return session.on_output(site, output)

            handles.append(site.module.register_forward_hook(hook))
        yield session
    finally:
        for handle in handles:
            handle.remove()
        backbone._attached = False  # type: ignore[attr-defined]
