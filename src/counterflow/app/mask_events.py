"""What happens on the panel that says where a picture may change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from counterflow.app import editing, markup, mask_panel, sources
from counterflow.app.desk import QUIET, Updates
from counterflow.app.edit_tab import Asking
from counterflow.app.mask_panel import EVERYWHERE, PAINTED
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.errors import CounterflowError
from counterflow.methods.registry import DEFAULT


class MaskEvents:
    """Listeners of the panel."""

    def __init__(self, studio: Studio, asking: Asking) -> None:
        self.studio, self.asking, self.panel = studio, asking, asking.mask

    def wire(self) -> None:
        """Connect the components."""
        a, p = self.asking, self.panel
        shown = [p.group, p.shape, p.painter]
        p.how.change(self.chose, [p.how, a.picture], shown, **QUIET)
        a.picture.change(self.chose, [p.how, a.picture], shown, **QUIET)
        p.give.upload(self.give, [p.give, a.picture], [p.painter, a.desk.status], **QUIET)
        asked = [a.picture, a.source, a.targets, a.seed]
        a.desk.begins(p.find, self.find, asked, [p.painter], api_visibility="private")

    def chose(self, request: gr.Request, how: str, picture: str | None) -> Updates:
        """A way was chosen, or another picture: what belongs to it is shown."""
        p = self.panel
        updates = {
            p.group: gr.update(visible=how == PAINTED),
            p.shape: gr.update(visible=how != EVERYWHERE),
        }
        if how != PAINTED or not picture:
            return updates
        try:
            ground = sources.read(picture).picture
        except CounterflowError:  # the picture's own note says why
            return updates
        session = self.asking.desk.session(request)
        return updates | {p.painter: self.canvas(session, ground)}

    def canvas(
        self, session: Session, picture: Image.Image, mask: np.ndarray | None = None
    ) -> dict[str, Any]:
        """The painter's value, as files of the session; a mask is remembered as it is."""
        session.mask, folder = mask, session.place()
        value = mask_panel.canvas(picture, mask)
        files = [folder / f"{n}.png" for n in range(1 + len(value["layers"]))]
        for file, each in zip(files, [value["background"], *value["layers"]], strict=True):
            each.save(file)
        return value | {"background": str(files[0]), "layers": [str(each) for each in files[1:]]}

    def give(self, request: gr.Request, file: str | None, picture: str | None) -> Updates:
        """A mask's file was given: it is put under the brush."""
        p, status = self.panel, self.asking.desk.status
        session = self.asking.desk.session(request)
        try:
            ground = sources.read(picture).picture
            mask = self.studio.mask(session, file, ground.size)
        except CounterflowError as error:
            return {status: markup.wrong(str(error))}
        return {p.painter: self.canvas(session, ground, mask), status: ""}

    def find(
        self,
        request: gr.Request,
        picture: str | None,
        source: str,
        targets: str,
        seed: float | None,
    ) -> Iterator[Updates]:
        """Find where source and first target differ, and put it into the painter."""
        session = self.asking.desk.session(request)
        found: list[Any] = []

        def begin() -> Task:
            asked = editing.Asked(picture, source, targets, DEFAULT, seed=int(seed or 0))
            job, plan = editing.check(self.studio, session, asked)

            def work(task: Task) -> None:
                with self.studio.lock:
                    inversion, _ = self.studio.inversion(job, task.progress)
                    editor, target = self.studio.editor, plan.targets[0]
                    mask: np.ndarray = editor.auto_mask(inversion, target, progress=task.progress)
                    assert job.picture is not None, "it is open"
                    found.append(self.canvas(session, job.picture, mask))

            return Task(work, [("masking", 6)])

        def fresh(task: Task) -> Updates:
            return {self.panel.painter: found.pop()} if found else {}

        yield from self.asking.desk.follow(session, begin, fresh)
