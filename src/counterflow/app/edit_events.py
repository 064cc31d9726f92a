"""The tab in which a picture is edited: what happens on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from counterflow.app import editing, forms, markup, mask_panel, presets, restore, sources, views
from counterflow.app.desk import MODEL, QUIET, Updates
from counterflow.app.edit_tab import Asking, Showing
from counterflow.app.examples import examples
from counterflow.app.session import Kept, Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.errors import CounterflowError
from counterflow.images import save_png
from counterflow.methods import registry
from counterflow.methods.base import Method


class EditEvents:
    """Listeners of the components; all that they know of a visitor is in their session."""

    def __init__(self, studio: Studio, asking: Asking, showing: Showing) -> None:
        self.studio, self.asking, self.showing = studio, asking, showing

    def wire(self) -> None:
        """Connect the components."""
        a, s = self.asking, self.showing
        sentences = [a.source, a.targets]
        form = [a.preset, a.method, a.about, *a.fields.values()]
        masked = [*form, a.mask.fold, a.mask.how]
        for each in sentences:
            each.change(self.marked, sentences, a.words, trigger_mode="always_last", **QUIET)
        given = [a.picture, a.note, *sentences, a.seed, *form, *a.mask.settings]
        a.picture.upload(self.given, a.picture, given, **QUIET)
        a.picture.clear(lambda: "", None, a.note, **QUIET)
        a.examples.select(self.example, None, [a.picture, a.note, *sentences], **QUIET)
        a.preset.input(self.preset, [a.preset, a.mask.how], masked, **QUIET)
        a.method.input(self.chosen, [a.method, a.mask.how], masked, **QUIET)
        a.desk.wire(self.edit, a.inputs, s.outputs)
        s.history.select(self.again, None, s.outputs, **QUIET)
        s.reuse.click(self.reuse, None, [a.picture, a.note, *sentences], **QUIET)
        s.show_way.click(
            self.way,
            None,
            [s.way, a.desk.status],
            show_progress_on=s.way,
            api_visibility="private",
            **MODEL,
        )

    def marked(self, source: str, targets: str) -> str:
        """The words of both sentences, as they are typed."""
        lines = [line for line in targets.splitlines() if line.strip()][: sources.MOST_TARGETS]
        return markup.words(source[: sources.MOST_LETTERS], lines, self.studio.words)

    def given(self, request: gr.Request, path: str | None) -> Updates:
        """A picture was dropped: say what is wrong with it, or restore the settings it carries."""
        a, session = self.asking, self.session(request)
        try:
            source = self.studio.received(session, path)
            session.given = session.copy(source.file)
            settings = restore.record(source.file)
        except CounterflowError as error:
            return {a.picture: None, a.note: markup.wrong(str(error))}
        unfit, updates = self.studio.unfit(source.picture), {a.picture: str(session.given)}
        if settings is None:
            return updates | {a.note: markup.notes("", unfit)}
        try:
            made = restore.restored(self.studio, session, settings)
        except CounterflowError as error:
            return updates | {a.note: markup.notes("", f"{error} {unfit}".strip())}
        if made.file is not None:
            session.given, unfit = made.file, ""
        said = markup.notes(" ".join(made.notes), unfit)
        updates = {a.picture: str(session.given), a.note: said} | self.form(made.job.method)
        updates |= {a.source: made.source, a.targets: made.target, a.seed: made.seed}
        return updates | mask_panel.shown(a.mask, made.job, made.masked)

    def example(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """An example was chosen."""
        each, session = examples()[int(event.index)], self.session(request)
        file = session.place() / each.name
        save_png(each.picture, file)
        return self.sourced(session, file, each.source, each.target)

    def sourced(self, session: Session, file: Path, source: str, target: str = "") -> Updates:
        """Updates that put a picture of ours into the form."""
        a, session.given = self.asking, file
        return {a.picture: str(file), a.note: "", a.source: source, a.targets: target}

    def preset(self, label: str, masking: str) -> Updates:
        """A preset was chosen; the first for what is none."""
        found = next((p for p in presets.PRESETS if p.label == label), presets.PRESETS[0])
        return self.form(found.method(self.studio.bundled), found.name, masking)

    def chosen(self, name: str, masking: str) -> Updates:
        """A method was chosen."""
        return self.form(registry.method(name), name, masking)

    def form(self, method: Method, name: str = "", masking: str = "") -> Updates:
        """Updates that show a method and its settings, and the mask's panel if it needs a mask.

        `masking` is what the panel says.
        """
        a, name = self.asking, name or method.name
        preset = presets.of(method, self.studio.bundled)
        shown = {
            a.preset: preset,
            a.method: name,
            a.about: markup.about(presets.about(name, method)),
        }
        if masking and method.needs_mask:
            shown |= mask_panel.needed(a.mask, masking)
        return shown | forms.shown(a.fields, method)

    def asked(self, values: Sequence[Any]) -> editing.Asked:
        """What the form says; InputError for a field that was emptied."""
        picture, source, targets, method, seed, *more = values
        panel, fields = len(self.asking.mask.inputs), self.asking.fields
        mask = mask_panel.chosen(*more[:panel])
        given = forms.texts(method, dict(zip(fields, more[panel:], strict=True)))
        return editing.Asked(picture, source, targets, method, given, int(seed or 0), mask)

    def edit(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Make the edits, telling of them while they run."""
        session = self.session(request)
        done: list[Kept] = []

        def begin() -> Task:
            return editing.begin(self.studio, session, self.asked(values), done.append)

        def fresh(task: Task) -> Updates:
            if done:
                shown = self.result(session, done[-1])
                done.clear()
                return shown
            preview = task.preview
            if preview is None or task.over:
                return {}
            return {self.showing.slider: tuple(map(str, preview))}

        yield from self.asking.desk.follow(session, begin, fresh)

    def result(self, session: Session, kept: Kept) -> Updates:
        """Updates that show a result, and the history with it."""
        s = self.showing
        session.shown = kept
        before = editing.before(kept.source_file)
        heat, share = views.difference(before, kept.file)
        return {
            s.slider: (str(before), str(kept.file)),
            s.difference: str(heat),
            s.changed: markup.note(f"{share:.1%} of the picture changed visibly."),
            s.way: None,
            s.report: markup.report(kept.facts, kept.source, kept.target),
            s.download: gr.update(value=str(kept.file), visible=True),
            s.mask: gr.update(value=kept.mask and str(kept.mask), visible=kept.mask is not None),
            s.reuse: gr.update(visible=True),
            s.history: editing.gallery(session),
        }

    def again(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """A result of the history was chosen."""
        session = self.session(request)
        if int(event.index) >= len(session.history):
            return {}
        return self.result(session, session.history[int(event.index)])

    def reuse(self, request: gr.Request) -> Updates:
        """The result that is shown becomes the next source."""
        session = self.session(request)
        if session.shown is None:
            return {}
        return self.sourced(session, session.shown.file, session.shown.target)

    def way(self, request: gr.Request) -> Updates:
        """The animation of how the shown result came about."""
        s, session = self.showing, self.session(request)
        kept = session.shown
        if kept is None or kept.path is None:
            return {self.asking.desk.status: markup.note(pathless(kept))}
        file = session.place() / "way.webp"
        with self.studio.lock:
            views.animate(self.studio.editor, kept, file)
        return {s.way: str(file)}

    def session(self, request: gr.Request) -> Session:
        """The visitor's tab."""
        return self.studio.sessions(request.session_hash)


def pathless(kept: Kept | None) -> str:
    """Why it cannot be shown how a result came about."""
    if kept is None:
        return "There is no result yet."
    if kept.compared:
        return "A comparison keeps only results: edit by this method here to see the way there."
    return "Only the newest results can be shown so: make this one again."
