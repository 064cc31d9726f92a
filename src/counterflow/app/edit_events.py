"""The tab in which a picture is edited: what happens on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from counterflow.app import editing, forms, markup, presets, restore, sources, views
from counterflow.app.edit_tab import Asking, Showing
from counterflow.app.examples import examples
from counterflow.app.session import Kept, Session
from counterflow.app.studio import Studio
from counterflow.errors import CounterflowError
from counterflow.images import save_png
from counterflow.methods import registry
from counterflow.methods.base import Method

Updates = dict[Any, Any]

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that answer at once, whoever is editing."""
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Events that work with the model: one at a time, in the order of their clicks."""


class EditEvents:
    """Listeners of the components; all that they know of a visitor is in their session."""

    def __init__(self, studio: Studio, asking: Asking, showing: Showing) -> None:
        self.studio, self.asking, self.showing = studio, asking, showing

    def wire(self) -> None:
        """Connect the components."""
        a, s = self.asking, self.showing
        sentences = [a.source, a.targets]
        form = [a.preset, a.method, a.about, *a.fields.values()]
        for each in sentences:
            each.change(self.marked, sentences, a.words, trigger_mode="always_last", **QUIET)
        given = [a.picture, a.note, *sentences, a.seed, *form]
        a.picture.upload(self.given, a.picture, given, **QUIET)
        a.picture.clear(lambda: "", None, a.note, **QUIET)
        a.examples.select(self.example, None, [a.picture, a.note, *sentences], **QUIET)
        a.preset.input(self.preset, a.preset, form, **QUIET)
        a.method.input(self.chosen, a.method, form, **QUIET)
        running = a.run.click(
            self.edit,
            a.inputs,
            [a.run, a.cancel, s.status, *s.outputs],
            api_name="edit",
            api_visibility="undocumented",
            show_progress="minimal",
            show_progress_on=s.status,
            **MODEL,
        )
        a.cancel.click(self.cancel, None, [a.run, a.cancel, s.status], cancels=[running], **QUIET)
        s.history.select(self.again, None, s.outputs, **QUIET)
        s.reuse.click(self.reuse, None, [a.picture, a.note, *sentences], **QUIET)
        s.show_way.click(
            self.way,
            None,
            [s.way, s.status],
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
        a = self.asking
        try:
            source = sources.read(path)
        except CounterflowError as error:
            return {a.picture: None, a.note: markup.wrong(str(error))}
        settings = restore.record(source.file)
        if settings is None:
            return {a.note: self.remark(source)}
        try:
            made = restore.restored(self.studio, self.session(request), settings)
        except CounterflowError as error:
            return {a.note: markup.wrong(str(error))}
        updates = {a.source: made.source, a.targets: made.target, a.seed: made.seed}
        if made.file is not None:
            updates[a.picture] = str(made.file)
        return updates | {a.note: markup.note(" ".join(made.notes))} | self.form(made.method)

    def remark(self, source: sources.Source) -> str:
        """What is to be known of a picture before it is edited."""
        unlike = self.studio.unlike(source.picture)
        return markup.wrong(unlike) if unlike else ""

    def example(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """An example was chosen."""
        each = examples()[int(event.index)]
        file = self.session(request).place() / each.name
        save_png(each.picture, file)
        return self.sourced(file, each.source, each.target)

    def sourced(self, file: Path, source: str, target: str = "") -> Updates:
        """Updates that put a picture of ours into the form."""
        a = self.asking
        return {a.picture: str(file), a.note: "", a.source: source, a.targets: target}

    def preset(self, label: str) -> Updates:
        """A preset was chosen."""
        name = next((p.method for p in presets.PRESETS if p.label == label), registry.DEFAULT)
        return self.form(registry.method(name), name)

    def chosen(self, name: str) -> Updates:
        """A method was chosen."""
        return self.form(registry.method(name), name)

    def form(self, method: Method, name: str = "") -> Updates:
        """Updates that show a method and its settings."""
        a, name = self.asking, name or method.name
        about = markup.about(presets.about(name))
        shown = {a.preset: presets.of(name), a.method: name, a.about: about}
        return shown | forms.shown(a.fields, method)

    def asked(self, values: Sequence[Any]) -> editing.Asked:
        """What the form says; InputError for a field that was emptied."""
        picture, source, targets, method, seed, *settings = values
        given = forms.texts(method, dict(zip(self.asking.fields, settings, strict=True)))
        return editing.Asked(picture, source, targets, method, given, int(seed or 0))

    def edit(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Make the edits, telling of them while they run."""
        a, s, session = self.asking, self.showing, self.session(request)
        done: list[Kept] = []
        try:
            asked = self.asked(values)
            task = editing.begin(self.studio, session, asked, done.append)
        except CounterflowError as error:
            yield self.rest(markup.wrong(str(error)))
            return
        session.task = task
        yield {
            a.run: gr.update(interactive=False),
            a.cancel: gr.update(interactive=True),
            s.status: markup.status(task),
        }
        source = sources.read(asked.picture).picture
        shown, told, preview = None, 0, None
        for _ in task:
            updates: Updates = {s.status: markup.status(task)}
            if len(done) > told:
                told = len(done)
                updates |= self.result(session, done[-1])
            elif task.preview is not None and task.preview is not preview:
                preview = task.preview
                updates |= {s.slider: (source, preview)}
            yield updates
        session.task = None
        if task.error:
            shown = markup.wrong(task.error)
        elif task.stopped:
            shown = markup.note("Cancelled.")
        yield self.rest(shown or "")

    def rest(self, status: str) -> Updates:
        """Updates of a page that is not at work."""
        a = self.asking
        idle = {a.run: gr.update(interactive=True), a.cancel: gr.update(interactive=False)}
        return idle | {self.showing.status: status}

    def cancel(self, request: gr.Request) -> Updates:
        """Stop what this tab has running or waiting."""
        task = self.session(request).task
        if task is not None:
            task.stop()
        return self.rest(markup.note("Cancelled."))

    def result(self, session: Session, kept: Kept) -> Updates:
        """Updates that show a result, and the history with it."""
        s = self.showing
        session.shown = kept
        before, after = views.pair(kept)
        heat, share = views.difference(before, after)
        gallery = [(str(each.file), each.target) for each in session.history]
        return {
            s.slider: (before, after),
            s.difference: heat,
            s.changed: markup.note(f"{share:.1%} of the picture changed visibly."),
            s.way: None,
            s.report: markup.report(kept.facts, kept.source, kept.target),
            s.download: gr.update(value=str(kept.file), visible=True),
            s.reuse: gr.update(visible=True),
            s.history: gr.update(value=gallery, visible=True, selected_index=None),
        }

    def again(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """A result of the history was chosen."""
        session = self.session(request)
        if int(event.index) >= len(session.history):
            return {}
        return self.result(session, session.history[int(event.index)])

    def reuse(self, request: gr.Request) -> Updates:
        """The result that is shown becomes the next source."""
        kept = self.session(request).shown
        if kept is None:
            return {}
        return self.sourced(kept.file, kept.target)

    def way(self, request: gr.Request) -> Updates:
        """The animation of how the shown result came about."""
        s, session = self.showing, self.session(request)
        kept = session.shown
        if kept is None or kept.path is None:
            why = "Only the newest results can be shown so." if kept else "There is no result yet."
            return {s.status: markup.note(why)}
        file = session.place() / "way.webp"
        with self.studio.lock:
            views.animate(self.studio.editor, kept, file)
        return {s.way: str(file)}

    def session(self, request: gr.Request) -> Session:
        """The visitor's tab."""
        return self.studio.sessions(request.session_hash)
