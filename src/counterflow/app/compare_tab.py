"""The tab that edits one picture by several methods, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from counterflow.app import editing, markup, mask_panel, presets
from counterflow.app.desk import Desk, Updates
from counterflow.app.edit_tab import Asking, strip
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.bench.compare import Compared, compare
from counterflow.edit import pictures
from counterflow.edit.job import Job
from counterflow.edit.plan import Plan
from counterflow.errors import InputError
from counterflow.methods.registry import DEFAULT, variant

FIRST = ["paired", "paired-short", "flowalign", "directedit"]
"""Methods that are compared unless others are chosen."""
MOST = 12


class CompareTab:
    """Its components, and what happens there; picture and sentences are those of the first tab."""

    def __init__(self, studio: Studio, asking: Asking) -> None:
        self.studio, self.asking = studio, asking
        gr.HTML(
            markup.about(
                "The picture, the source, the first target and the mask of the first tab: edited "
                "by each of these methods as it comes. The figure in dB says how like the source "
                "the result is, outside the mask if there is one; the results are in the history, "
                "too."
            )
        )
        self.methods = gr.Dropdown(
            presets.methods(),
            value=FIRST,
            multiselect=True,
            max_choices=MOST,
            label="Methods",
            elem_id="cf-methods",
        )
        self.desk = Desk(studio, "Compare", "compare")
        self.desk.line()
        self.results = strip("Comparison", [], True, 4)

    def wire(self, history: Any) -> None:
        """Connect the components; `history` is the strip of the first tab."""
        a = self.asking
        inputs = [self.methods, a.picture, a.source, a.targets, a.seed, *a.mask.inputs]
        self.desk.wire(self.compare, inputs, [self.results, history])
        self.history = history

    def compare(
        self,
        request: gr.Request,
        methods: Sequence[str],
        picture: str | None,
        source: str,
        targets: str,
        seed: float | None,
        *mask: Any,
    ) -> Iterator[Updates]:
        """Make every method's edit, and show each as soon as it is made."""
        session = self.desk.session(request)
        cells: list[tuple[Any, str]] = []

        def begin() -> Task:
            if not methods:
                raise InputError("No method is chosen: choose two or more.")
            if len(methods) > MOST:
                raise InputError(f"{len(methods)} methods at once: {MOST} are the most.")
            chosen = mask_panel.chosen(*mask)
            asked = editing.Asked(
                picture, source, targets, DEFAULT, seed=int(seed or 0), mask=chosen
            )
            job, plan = editing.opened(self.studio, session, asked)
            cells.append((str(editing.before(job.image)), "source"))
            return self.task(session, job, plan, list(methods), cells)

        def fresh(task: Task) -> Updates:
            gallery = editing.gallery(session)
            return {self.results: list(cells), self.history: gallery}

        yield from self.desk.follow(session, begin, fresh)

    def task(
        self,
        session: Session,
        job: Job,
        plan: Plan,
        methods: list[str],
        cells: list[tuple[Any, str]],
    ) -> Task:
        """The work; `cells` are filled as it goes on."""
        variants = [variant(name) for name in methods]

        def work(task: Task) -> None:
            with self.studio.lock:
                masked = self.masked(job, plan, task) if job.auto_mask else job
                assert job.picture is not None and job.source is not None, "it is open"
                prompts, seed = (job.source, plan.targets[0]), job.model.seed
                given = (self.studio.editor, job.picture, *prompts, variants, masked.inside, seed)
                exact = job.exact_background
                for made in compare(*given, steps=task.progress, exact_background=exact):
                    cells.append(self.cell(session, masked, plan, made))
                    task.tell()

        guesses = [part for each in variants for part in editing.phases(each.method)]
        if job.auto_mask:
            guesses = [("inverting", job.method.steps), ("masking", 6), *guesses]
        return Task(work, guesses)

    def masked(self, job: Job, plan: Plan, task: Task) -> Job:
        """The job with the mask of its first target found: one for all methods, as if given."""
        inversion, _ = self.studio.inversion(job, task.progress)
        found = self.studio.editor.auto_mask(inversion, plan.targets[0], progress=task.progress)
        file = editing.beside(job.image, "mask.png")
        pictures.alpha(found).save(file)
        given = replace(job, mask=file, auto_mask=False)
        given.open()
        return given

    def cell(self, session: Session, job: Job, plan: Plan, made: Compared) -> tuple[Any, str]:
        """A method's picture with what it cost, or the source with why there is none."""
        if made.edit is None:
            return str(editing.before(job.image)), f"{made.name}: {made.error}"
        own = replace(job, method_name=made.method.name, settings=made.method.to_dict(), texts={})
        edit = replace(made.edit, forwards=made.forwards, seconds=made.seconds)
        kept = editing.keeping(session, own, plan, 0, edit)
        kept.compared = True
        session.keep(kept)
        like = "" if made.psnr is None else f", {made.psnr:.1f} dB"
        return str(kept.file), f"{made.name}: {made.forwards} forwards{like}"
