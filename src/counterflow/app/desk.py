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
REFUSED = "This was not done: the message in the corner says why."


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
        mine = [self.run, self.cancel, self.status]
        self.waits(self.run)
        running = self.run.click(
            work,
            inputs,
            [self.run, self.cancel, self.status, *outputs],
            api_name=self.name,
            api_visibility="undocumented",
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL,
        )
        self.cancel.click(self.stop, None, mine, **QUIET)
        self.ends(running)

    def waits(self, button: Any) -> None:
        """From its click on it is told that a button's work waits, and that can be cancelled.

        The browser does it by itself: no answer of ours could come late, after the work's own.
        """
        waiting = [gr.update(interactive=False), gr.update(interactive=True)]
        self._instead(button.click, [*waiting, markup.note("Waiting…")])

    def ends(self, event: Any) -> None:
        """Let Cancel end an event that waits or runs; one that was not let in says so."""
        self.cancel.click(None, cancels=[event])
        self._instead(event.failure, list(self.rest(markup.wrong(REFUSED)).values()))

    def _instead(self, when: Callable[..., Any], shown: list[Any]) -> None:
        mine = [self.run, self.cancel, self.status]
        when(None, None, mine, js=f"() => {json.dumps(shown)}", **QUIET)

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
        yield shown | self.rest(markup.note("Cancelled.") if task.stopped else said)

    def rest(self, status: str) -> Updates:
        """Updates for when nothing is at work."""
        idle = {self.run: gr.update(interactive=True), self.cancel: gr.update(interactive=False)}
        return idle | {self.status: status}

    def stop(self, request: gr.Request) -> Updates:
        """Stop what this tab has running or waiting."""
        task = self.session(request).task
        if task is not None:
            task.stop()
        return self.rest(markup.note("Cancelled."))

    def session(self, request: gr.Request) -> Session:
        """The visitor's tab."""
        return self.studio.sessions(request.session_hash)
