"""The tab that draws a picture to begin with: of a sentence by the model, or a toybox scene."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from counterflow.app import markup, sources
from counterflow.app.desk import QUIET, Desk, Updates
from counterflow.app.edit_tab import Asking
from counterflow.app.session import Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.edit.checks import check_generate
from counterflow.images import save_png
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import CATEGORIES, SceneEdit, draw_edit
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

STEPS, GUIDANCE = 28, 3.0
SEEDS = 10_000
"""Scenes of which "Another scene" chooses."""


def edit_of(seed: int) -> SceneEdit:
    """An edit of the scene of a seed, as `counterflow toybox draw --seed` draws it.

    Some kinds of edits need another scene, as one with a hat: then it is of the next kind.
    """
    scene = sample(seed)
    kinds = ((seed + n) % len(CATEGORIES) for n in range(len(CATEGORIES)))
    edits = (draw_edit(scene, kind, seed) for kind in kinds)
    return next(edit for edit in edits if edit.source == scene)


class DrawTab:
    """Its components, and what happens there."""

    def __init__(self, studio: Studio, asking: Asking) -> None:
        self.studio, self.asking = studio, asking
        with gr.Row():
            with gr.Column(min_width=320):
                self.sentence = gr.Textbox(
                    label="A sentence that the model draws",
                    value="a happy red cat standing on the grass" if studio.bundled else "",
                    lines=2,
                    max_length=sources.MOST_LETTERS,
                    elem_id="cf-sentence",
                )
                self.words = gr.HTML()
                self.seed = gr.Number(0, label="seed of its noise", precision=0, minimum=0)
                self.desk = Desk(studio, "Draw the sentence", "draw")
                with gr.Group(visible=studio.bundled):
                    self.scene = gr.Number(
                        55,
                        label="or the seed of a toybox scene, drawn without the model",
                        precision=0,
                        minimum=0,
                        elem_id="cf-scene",
                    )
                    with gr.Row():
                        self.show = gr.Button("Draw this scene", elem_id="cf-show-scene")
                        self.another = gr.Button("Another scene", elem_id="cf-another")
            with gr.Column(min_width=320):
                self.desk.line()
                self.drawn = gr.Image(
                    show_label=False,
                    label="What was drawn",
                    format="png",
                    height=320,
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="cf-drawn",
                )
                self.caption = gr.HTML(elem_id="cf-caption")
                self.use = gr.Button("Use as source", visible=False, elem_id="cf-use")

    def wire(self, tabs: Any) -> None:
        """Connect the components; `tabs` are those of the page, whose first is then shown."""
        a, self.tabs = self.asking, tabs
        shown = [self.drawn, self.caption, self.use]
        self.desk.wire(self.draw, [self.sentence, self.seed], shown)
        self.sentence.change(self.known, self.sentence, self.words, **QUIET)
        self.show.click(self.scene_of, self.scene, [self.scene, *shown], **QUIET)
        self.another.click(self.other, None, [self.scene, *shown], **QUIET)
        self.use.click(self.used, None, [tabs, a.picture, a.note, a.source, a.targets], **QUIET)

    def known(self, sentence: str) -> str:
        """The words that the model never learned, as they are typed."""
        return markup.unknown([sentence[: sources.MOST_LETTERS]], self.studio.words)

    def draw(self, request: gr.Request, sentence: str, seed: float | None) -> Iterator[Updates]:
        """Let the model draw a sentence."""
        session = self.desk.session(request)

        def begin() -> Task:
            said = sources.sentence(sentence, "sentence")
            check_generate(STEPS, GUIDANCE, int(seed or 0), None, None)
            return Task(lambda task: self.generate(session, task, said, int(seed or 0)))

        def fresh(task: Task) -> Updates:
            return self.showing(session) if task.over and not task.error else {}

        yield from self.desk.follow(session, begin, fresh)

    def generate(self, session: Session, task: Task, sentence: str, seed: int) -> None:
        """The work of `draw`."""
        with self.studio.lock:
            editor = self.studio.editor
            picture, _ = editor.generate(sentence, STEPS, GUIDANCE, seed, progress=task.progress)
            file = session.place() / f"{sources.slug(sentence)}.png"
            save_png(picture, file)
        self.drew(session, file, sentence)

    def scene_of(self, request: gr.Request, seed: float | None) -> Updates:
        """Draw the scene of a seed, as it is."""
        session, number = self.desk.session(request), max(0, min(int(seed or 0), 2**62))
        scene = edit_of(number)
        file = session.place() / f"toybox-{number}.png"
        save_png(render(scene.source), file)
        said, target = caption(scene.source), caption(scene.target)
        self.drew(session, file, said, target)
        return {self.scene: number} | self.showing(session)

    def other(self, request: gr.Request) -> Updates:
        """Draw a scene that chance chooses."""
        return self.scene_of(request, random.randrange(SEEDS))

    def drew(self, session: Session, file: Path, sentence: str, target: str = "") -> None:
        """Note what was drawn last."""
        session.drawn = file, sentence, target
        session.remember(sources.digest(file), file)

    def showing(self, session: Session) -> Updates:
        """Updates that show what was drawn last."""
        if session.drawn is None:
            return {}
        file, sentence, _ = session.drawn
        return {
            self.drawn: str(file),
            self.caption: markup.about(sentence),
            self.use: gr.update(visible=True),
        }

    def used(self, request: gr.Request) -> Updates:
        """What was drawn last becomes the source."""
        session, a = self.desk.session(request), self.asking
        if session.drawn is None:
            return {}
        file, sentence, target = session.drawn
        session.given = file
        words = {a.source: sentence, a.targets: target or sentence, a.note: ""}
        return {self.tabs: gr.update(selected="edit"), a.picture: str(file)} | words
