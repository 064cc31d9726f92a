"""The buttons that begin and end a piece of work with the model, and the line that tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from counterflow.app import markup
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.errors import CounterflowError

Updates = dict[Any, Any]

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that answer at once, whoever works with the model."""
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Events that work with the model: one at a time, in the order of their clicks."""
REFUSED = markup.wrong("This was not done: the message in the corner says why.")
CANCELLED = markup.note("Cancelled.")


class Desk:
    """Draws the two buttons; `line` draws the line, which may be elsewhere."""

    def __init__(self, studio: Studio, label: str, name: str) -> None:
        self.studio, self.name = studio, name
        with gr.Row():
            self.run = gr.Button(label, variant="primary", scale=3, elem_id=f"cf-{name}-run")
            self.cancel = gr.Button(
                "Cancel", interactive=False, min_width=90, elem_id=f"cf-{name}-cancel"
            )
        self.status: Any = None

    def line(self) -> None:
        """Draw the line that tells how far the work is."""
        self.status = gr.HTML(elem_id=f"cf-{self.name}-status")

    def wire(self, work: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
        """Connect the buttons; `work` is a generator of updates that follows a task."""
        self.begins(
            self.run, work, inputs, outputs, api_name=self.name, api_visibility="undocumented"
        )
        self._by_browser(
            self.cancel.click, f"({self._cancelled} = true, {self._at_rest(CANCELLED)})"
        )
        self.cancel.click(self.stop, None, None, **QUIET)

    def begins(
        self,
        button: Any,
        work: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
        **options: Any,
    ) -> None:
        """Let a button begin some work with the model, which Cancel ends while it waits or runs.

        From the click on the browser tells that it waits, by itself: an answer of ours could come
        after the work's own. Gradio calls both what is cancelled and what was not let in a failure,
        so the browser keeps whether Cancel was pressed.
        """
        waiting = [gr.update(interactive=False), gr.update(interactive=True)]
        shown = json.dumps([*waiting, markup.note("Waiting…")])
        self._by_browser(button.click, f"({self._cancelled} = false, {shown})")
        event = button.click(
            work,
            inputs,
            [self.run, self.cancel, self.status, *outputs],
            show_progress="hidden",  # the line tells it
            **options,
            **MODEL,
        )
        self.cancel.click(None, cancels=[event])
        cancelled, refused = self._at_rest(CANCELLED), self._at_rest(REFUSED)
        self._by_browser(event.failure, f"{self._cancelled} ? {cancelled} : {refused}")

    @property
    def _cancelled(self) -> str:
        """The browser's variable that says whether Cancel was pressed since the work began."""
        return f'globalThis["cf-{self.name}-cancelled"]'

    def _at_rest(self, said: str) -> str:
        """A script's expression for `rest`."""
        return json.dumps(list(self.rest(said).values()))

    def _by_browser(self, when: Callable[..., Any], shown: str) -> None:
        """Set the buttons and the line to what a script's expression gives."""
        when(None, None, [self.run, self.cancel, self.status], js=f"() => {shown}", **QUIET)

    def follow(
        self,
        session: Session,
        begin: Callable[[], Task],
        fresh: Callable[[Task], Updates] = lambda task: {},
    ) -> Iterator[Updates]:
        """Begin a task and tell of it until it ends; `fresh` says what else is new."""
        try:
            task = begin()
        except CounterflowError as error:
            yield self.rest(markup.wrong(str(error)))
            return
        session.task = task
        # All that was said so far is said again each time: the browser makes a message from the one
        # before it and what changed, and what is left out is lost if messages come fast.
        shown = {
            self.run: gr.update(interactive=False),
            self.cancel: gr.update(interactive=True),
            self.status: markup.status(task),
        }
        yield shown
        for _ in task:
            shown = shown | {self.status: markup.status(task)} | fresh(task)
            yield shown
        session.task = None
        said = markup.wrong(task.error) if task.error else ""
        yield shown | self.rest(CANCELLED if task.stopped else said)

    def rest(self, status: str) -> Updates:
        """Updates for when nothing is at work."""
        idle = {self.run: gr.update(interactive=True), self.cancel: gr.update(interactive=False)}
        return idle | {self.status: status}

    def stop(self, request: gr.Request) -> None:
        """Stop what this tab has running."""
        task = self.session(request).task
        if task is not None:
            task.stop()

    def session(self, request: gr.Request) -> Session:
        """The visitor's tab."""
        return self.studio.sessions(request.session_hash)
