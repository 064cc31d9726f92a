"""How a control meets a model: scoped hooks at the adapter's sites, told the step by the loop.

    with attach(backbone, controls) as session:
        source = session.on(source_field)  # remembers the features that the controls want
        target = session.on(target_field, rows)  # has them replaced

Any other field passes untouched (the unconditional pass of guidance does), and after
`attach` there is no hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from counterflow.backbones.base import Backbone, Site
from counterflow.flow import Field, Step


@dataclass(frozen=True)
class RowMap:
    """For each row of a target's text stream, its partner in the source's."""

    source: tuple[int | None, ...]
    """The source's row, or None where the target keeps its own feature."""
    words: tuple[str, ...] = ()
    """The word that each row spells, in lower case; empty for special tokens, or not known."""
    padding: frozenset[int] = frozenset()
    """The target's rows of padding."""

    def only(self, on: Callable[[str], bool]) -> RowMap:
        """The partners of those rows alone whose words satisfy `on`."""
        words = self.words or ("",) * len(self.source)
        kept = {word: on(word) for word in set(words)}
        pairs = zip(self.source, words, strict=True)
        return replace(self, source=tuple(i if kept[word] else None for i, word in pairs))

    def without_padding(self) -> RowMap:
        """The same, but padding has no partner."""
        rows = enumerate(self.source)
        return replace(self, source=tuple(None if j in self.padding else i for j, i in rows))


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


@dataclass
class Features:
    """Source features by step and site: what further targets of one inversion need not recompute.

    Features beyond `budget` bytes are kept for the running step only.
    """

    budget: int = 2 << 30
    kept: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    passing: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    size: int = 0

    def put(self, step: Step, site: Site, value: Tensor) -> None:
        """Remember a copy of the source's features."""
        key = (step.index, site.name)
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
        """The source's features at a step and site, if they are known."""
        key = (step.index, site.name)
        return self.passing.get(key, self.kept.get(key))

    def clear(self) -> None:
        """Forget everything."""
        self.kept.clear()
        self.passing.clear()
        self.size = 0

    def end_step(self) -> None:
        """Forget what did not fit the budget."""
        self.passing.clear()


class Session:
    """Attached controls, and the step that the loop says is running."""

    def __init__(
        self, sites: Sequence[Site], controls: Sequence[Control], features: Features
    ) -> None:
        self.sites = sites
        self.controls = controls
        self.features = features
        self._step: Step | None = None
        self._rows: Sequence[RowMap] = ()

    def on(self, field: Field, rows: Sequence[RowMap] = ()) -> Field:
        """The same field, with the hooks told which step and branch each forward belongs to.

        `rows` are the maps of the targets that the field's batch holds.
        """

        def told(x: Tensor, step: Step) -> Tensor:
            self._step, self._rows = step, rows
            try:
                return field(x, step)
            finally:
                self._step, self._rows = None, ()

        return told

    def active(self, site: Site, step: Step) -> list[Control]:
        """The controls that act at a site in a step."""
        return [control for control in self.controls if control.wants(site, step)]

    def lacks_source(self, step: Step) -> bool:
        """Whether a control will need source features at this step that are not known yet."""
        return any(
            self.active(site, step) and self.features.get(step, site) is None for site in self.sites
        )

    def on_output(self, site: Site, output: Any) -> Any:
        """What a site's hook does: remember on the source branch, replace on the target's."""
        step = self._step
        if step is None or step.branch == "negative":
            return output
        controls = self.active(site, step)
        if not controls:
            return output
        value = site.read(output)
        if step.branch == "source":
            self.features.put(step, site, value)
            return output
        source = self.features.get(step, site)
        if source is None:
            raise RuntimeError(f"no source features at step {step.index}, site {site.name}")
        for control in controls:
            value = control.apply(site, step, value, source.to(value), self._rows)
        return site.write(output, value)


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
